"""Records of format 2 (a trial was one Optuna trial with several moves, everything else a note) as rows. They are only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from halosearch.record.evaluation import (
    ANCHOR,
    COMPLETE,
    FAILED,
    HELD_OUT,
    PRUNED,
    RATE,
    REFERENCE,
    RETEST,
    RUNNING,
    TRIAL,
    Evaluation,
)

FORMAT = 2
KINDS = {"retest": RETEST, "rate": RATE, "final": HELD_OUT}


def rows_of(trials: Sequence[FrozenTrial], notes: Mapping[str, Any]) -> list[Evaluation]:
    """The rows that such a record stands for: anchor, reference, trials in the order of their moves, each followed by its repeats."""
    found = []
    if "clock" in notes:
        found.append(Evaluation(0, ANCHOR, {}, state=COMPLETE, result=notes["clock"], runs=1))
    if "reference" in notes:
        note = notes["reference"]
        found.append(Evaluation(0, REFERENCE, note["dials"], **_end(note)))
    moves = [(move, trial) for trial in trials for move in trial.user_attrs.get("moves", ())]
    moved = [
        _move(trial, int(move[1]), int(move[2])) for move, trial in sorted(moves, key=lambda pair: int(pair[0][0]))
    ]
    last = {row.trial: place for place, row in enumerate(moved)}
    repeated = []
    by_number = {trial.number: trial for trial in trials}
    for key in sorted(notes):
        kind, _, rest = key.partition("-")
        if kind in KINDS:
            number, _, repeat = rest.partition("-")
            note, trial = notes[key], by_number[int(number)]
            repeated.append(
                Evaluation(
                    0, KINDS[kind], dict(trial.params), dict(trial.user_attrs["costs"]), int(note["seed"]),
                    trial.number, repeat=int(repeat or 1), rate=float(note["rate"]), **_end(note),
                )
            )  # fmt: skip
    placed = [*enumerate(moved), *((last[row.trial], row) for row in repeated)]  # a stable sort leaves moves first
    found += [row for _, row in sorted(placed, key=lambda pair: pair[0])]
    return [replace(row, id=place) for place, row in enumerate(found)]


def _end(note: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": note["state"], "result": note["result"], "reason": note.get("reason", ""), "runs": 1}


def _move(trial: FrozenTrial, rung: int, known: int) -> Evaluation:
    """One move of a trial; of rungs before the last only the scores were kept."""
    attributes = trial.user_attrs
    end, paused = attributes.get("end", {}), attributes.get("pause", {})
    last = rung == max(int(move[1]) for move in attributes["moves"])
    scores = end.get("result", {}).get("scores") or paused.get("scores") or []
    if last and end:
        state, result, reason = end["state"], dict(end["result"]), end["reason"]
        # the record holds what the rungs before took beside training, a row does not
        if len(paused.get("scores", ())) == rung > 0 and "seconds" in result:
            result["seconds"] -= paused["seconds"] - paused["train_seconds"]
    elif len(scores) > rung:
        state, reason = PRUNED, ""
        kept = paused if len(paused.get("scores", ())) == rung + 1 else {"seconds": 0.0, "train_seconds": 0.0}
        result = kept | {"scores": scores[: rung + 1], "score": scores[rung]["score"], "final": scores[rung]}
    else:
        state, result, reason = RUNNING if not trial.state.is_finished() else FAILED, {}, ""
    runs = attributes.get("runs", 1)
    count = int(runs.get(str(rung), 1)) if isinstance(runs, dict) else int(runs)
    return Evaluation(
        0, TRIAL, dict(trial.params), dict(attributes["costs"]), 0, trial.number, rung, known=known,
        state=state, result=result, reason=reason, runs=0 if state == RUNNING else count,
    )  # fmt: skip
