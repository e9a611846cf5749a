"""The candidates of a search, each made of the rows of its rungs; and the repeats of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from halosearch.record.evaluation import (
    ANCHOR,
    COMPLETE,
    INFEASIBLE,
    REFERENCE,
    RUNNING,
    STEP_TIME,
    TRIAL,
    Evaluation,
)

if TYPE_CHECKING:
    import pandas as pd


TIMED = ("step_time", "parts", "step_time_s", "step_time_low_s", "step_time_high_s")
"""What a row of a step time adds to its trial."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate of the search: the state of its last row, and what all its rows have come to.

    `result` is that of the highest rung with what the lower ones took beside training; `moves` are (place among the rows of the
    search, rung, rows known) of each row.
    """

    number: int
    dials: dict[str, Any]
    costs: dict[str, int]
    state: str
    runs: int = 0
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    moves: tuple[tuple[int, int, int], ...] = ()


def trials_of(rows: Iterable[Evaluation]) -> list[Trial]:
    """The trials of a table, by number."""
    grouped: dict[int, list[tuple[int, Evaluation]]] = {}
    rows = list(rows)
    for place, row in enumerate(row for row in rows if row.kind == TRIAL):
        grouped.setdefault(row.trial, []).append((place, row))
    timed = {row.trial: row for row in rows if row.kind == STEP_TIME and row.state != RUNNING}
    return [_with_step_time(_trial(grouped[number]), timed.get(number)) for number in sorted(grouped)]


def _with_step_time(trial: Trial, row: Evaluation | None) -> Trial:
    """What the trial's step was measured to take; a network whose step finds no room is no candidate for this device."""
    if row is None:
        return trial
    if row.state == INFEASIBLE:
        return replace(trial, state=INFEASIBLE, reason=row.reason)
    own = {key: row.result[key] for key in TIMED if key in row.result}
    spent = float(trial.result.get("seconds", 0.0)) + float(row.result.get("seconds", 0.0))
    return replace(trial, result=trial.result | own | {"seconds": spent})


def _trial(rungs: list[tuple[int, Evaluation]]) -> Trial:
    result: dict[str, Any] = {}
    for _, row in rungs:
        own = dict(row.result)
        if result and "seconds" in own:  # training is counted through the checkpoint
            own["seconds"] += float(result.get("seconds", 0.0)) - float(result.get("train_seconds", 0.0))
        result |= own
    last = rungs[-1][1]
    begun = [row.runs for _, row in rungs if row.runs]
    return Trial(
        last.trial,
        last.candidate,
        last.costs,
        last.state,
        1 + sum(runs - 1 for runs in begun) if begun else 0,
        last.reason,
        result,
        tuple((place, row.rung, row.known) for place, row in rungs),
    )


def repeats(rows: Iterable[Evaluation], kind: str, trial: int) -> list[Evaluation]:
    """The completed repeats of a trial of one kind, by repeat."""
    found = [row for row in rows if row.kind == kind and row.trial == trial and row.state == COMPLETE]
    return sorted(found, key=lambda row: row.repeat)


def anchor_of(rows: Sequence[Evaluation]) -> dict[str, Any] | None:
    """The anchor's step time, None where it is not measured yet."""
    return next((row.result for row in rows if row.kind == ANCHOR and row.state == COMPLETE), None)


def reference_of(rows: Sequence[Evaluation]) -> Evaluation | None:
    """The reference model's row once it has ended."""
    return next((row for row in rows if row.kind == REFERENCE and row.runs), None)


def table(trials: list[Trial]) -> pd.DataFrame:
    """One row per trial: number, state, dials, exact costs, score, step time with interval, accuracies, seconds, reason."""
    import pandas as pd  # half a second that a status does not have

    return pd.DataFrame([flat(trial) for trial in trials])


def flat(trial: Trial) -> dict[str, Any]:
    """One trial flat; what was not measured is None."""
    result = trial.result
    step = result.get("step_time", {}).get("seconds", {})
    parts = {
        f"part_{name.replace(' ', '_')}": value for name, value in result.get("final", {}).get("parts", {}).items()
    }
    accuracy = {f"accuracy_{name}": value for name, value in result.get("final", {}).get("accuracy", {}).items()}
    return {
        "trial": trial.number,
        "state": trial.state,
        **trial.dials,
        **trial.costs,
        "score": result.get("score"),
        "step_time_s": result.get("step_time_s"),
        "step_time_low_s": result.get("step_time_low_s"),
        "step_time_high_s": result.get("step_time_high_s"),
        "step_time_raw_s": step.get("median"),
        "memory_bytes": result.get("step_time", {}).get("memory_bytes"),
        **accuracy,
        **parts,
        "prequential": result.get("final", {}).get("prequential"),
        "images": result.get("final", {}).get("images_seen"),
        "rungs": len(result.get("scores", ())) or None,
        "images_per_s": result.get("images_per_s"),
        "seconds": result.get("seconds"),
        "runs": trial.runs,
        "reason": trial.reason,
    }


def to_json(value: Any) -> str:
    """Stable, strict JSON: sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=1)
