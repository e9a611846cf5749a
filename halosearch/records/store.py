"""A study's trials in an Optuna storage: proposed in one write, finished in one more, read as plain records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from halosearch.errors import StoreError, VersionError
from halosearch.records.journal import check, mend, open_storage

FORMAT = 2
"""Version of what is written; a study of another one is refused, not guessed at."""
STUDY = "halosearch"
COMPLETE, PRUNED, INFEASIBLE, FAILED, RUNNING = "complete", "pruned", "infeasible", "failed", "running"
STATES = {
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    INFEASIBLE: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial as recorded.

    `result` is what the evaluation returned; of a trial that is paused, or failed on its way to a higher rung, what it had come to
    before. `reason` says why a trial is not complete. `moves` are the decisions about it, (number, rung, moves known) each.
    """

    number: int
    dials: dict[str, Any]
    costs: dict[str, int]
    state: str
    runs: int = 0
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    moves: tuple[tuple[int, int, int], ...] = ()


class Store:
    """The record of one study. One process at a time may write (see `hold_study`)."""

    def __init__(self, path: Path, *, create: bool, read_only: bool = False) -> None:
        """Mend and open the journal at `path`; a reader mends nothing, for a driver may be writing.

        Raises:
            StoreError: the journal is damaged, or absent where it should not be.
            VersionError: it was written in another format.
        """
        if not create and not path.exists():
            raise StoreError(f"the store {path} is missing", "restore it, or start anew under another --name")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        unterminated = check(path) if read_only else mend(path)
        self.cut_bytes = 0 if read_only else unterminated
        self.path = path
        try:
            storage = open_storage(path)
            self._study = _find_study(storage, create=not read_only)
        except (KeyError, AttributeError, ValueError) as error:
            raise StoreError(
                f"the store {path} is damaged ({type(error).__name__})",
                "restore the file from a backup, or start anew under another --name",
            ) from error
        self._storage = storage
        if not read_only and not self._study.user_attrs and not self._study.trials:
            self._study.set_user_attr("format", FORMAT)
        found = self._study.user_attrs.get("format", FORMAT)
        if found != FORMAT:
            raise VersionError(
                f"the study was written in format {found}, this version reads format {FORMAT}",
                "continue it with the version of halosearch that began it, or start anew under another --name",
            )

    def propose(
        self, dials: dict[str, Any], costs: dict[str, int], distributions: dict[str, Any], move: tuple[int, int, int]
    ) -> int:
        """Append a running trial in one write; returns its number. `move`: its number, the rung to reach, moves known."""
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dials,
            distributions=distributions,
            user_attrs={"costs": costs, "moves": [list(move)]},
        )
        self._study.add_trial(trial)
        return len(self._study.get_trials(deepcopy=False)) - 1

    def promote(self, number: int, move: tuple[int, int, int]) -> None:
        """Record that a trial goes on."""
        trial = self._study.get_trials(deepcopy=False)[number]
        moves = [*trial.user_attrs["moves"], list(move)]
        self._storage.set_trial_user_attr(trial._trial_id, "moves", moves)

    def pause(self, number: int, result: dict[str, Any]) -> None:
        """Record what a running trial has come to."""
        trial = self._study.get_trials(deepcopy=False)[number]
        self._storage.set_trial_user_attr(trial._trial_id, "pause", result)

    def prune(self, number: int, reason: str) -> None:
        """End a paused trial with what it has come to."""
        trial = self._study.get_trials(deepcopy=False)[number]
        self.finish(number, PRUNED, trial.user_attrs["pause"], reason)

    def begin_run(self, number: int, rung: int) -> int:
        """Count one more start of a trial on its way to a rung; returns which run of this part it is (1 = first)."""
        trial = self._study.get_trials(deepcopy=False)[number]
        runs = dict(trial.user_attrs.get("runs", {}))
        runs[str(rung)] = runs.get(str(rung), 0) + 1
        self._storage.set_trial_user_attr(trial._trial_id, "runs", runs)
        return int(runs[str(rung)])

    def finish(self, number: int, state: str, result: dict[str, Any], reason: str = "") -> None:
        """End a trial: the result is written first, so that a crash in between loses nothing."""
        trial = self._study.get_trials(deepcopy=False)[number]
        self._storage.set_trial_user_attr(trial._trial_id, "end", {"state": state, "result": result, "reason": reason})
        self._tell(number, state, result)

    def _tell(self, number: int, state: str, result: dict[str, Any]) -> None:
        values = [result["score"], result["step_time_s"]] if state == COMPLETE else None
        self._study.tell(number, values, state=STATES[state], skip_if_finished=True)

    def finish_interrupted(self) -> None:
        """Close the trials whose result was written before a crash kept them from being closed."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            end = trial.user_attrs.get("end")
            if end:
                self._tell(trial.number, end["state"], end["result"])

    def count(self) -> int:
        """Trials so far."""
        return len(self._study.get_trials(deepcopy=False))

    def note(self, key: str, value: dict[str, Any]) -> None:
        """Keep something about the whole study (the reference, a retest) under a key."""
        self._study.set_user_attr(key, value)

    def notes(self) -> dict[str, Any]:
        """Everything kept by `note`."""
        return dict(self._study.user_attrs)

    def trials(self) -> list[Trial]:
        """All trials by number."""
        return [_plain(trial) for trial in self._study.get_trials(deepcopy=False)]


def _find_study(storage: optuna.storages.BaseStorage, *, create: bool) -> optuna.Study:
    """The study in a storage; a reader writes nothing, and finds an empty one where none was begun."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    if any(study.study_name == STUDY for study in storage.get_all_studies()):
        return optuna.load_study(storage=storage, study_name=STUDY, sampler=sampler)
    return optuna.create_study(
        storage=storage if create else None, study_name=STUDY, directions=["maximize", "minimize"], sampler=sampler
    )


def _plain(trial: FrozenTrial) -> Trial:
    end = trial.user_attrs.get("end", {})
    state = RUNNING if not trial.state.is_finished() else end.get("state", FAILED)
    return Trial(
        trial.number,
        dict(trial.params),
        dict(trial.user_attrs.get("costs", {})),
        state,
        _runs(trial.user_attrs.get("runs", 0)),
        end.get("reason", ""),
        {**trial.user_attrs.get("pause", {}), **end.get("result", {})},
        tuple((int(a), int(b), int(c)) for a, b, c in trial.user_attrs.get("moves", ())),
    )


def _runs(runs: int | dict[str, int]) -> int:
    """Starts of a trial, those of later rungs not counted unless they were begun again; one number in older records."""
    return runs if isinstance(runs, int) else 1 + sum(n - 1 for n in runs.values()) if runs else 0


def table(trials: list[Trial]) -> pd.DataFrame:
    """One row per trial: number, state, dials, exact costs, score, step time with interval, accuracies, seconds, reason."""
    return pd.DataFrame([row(trial) for trial in trials])


def row(trial: Trial) -> dict[str, Any]:
    """One trial flat; what was not measured is None."""
    result = trial.result
    step = result.get("step_time", {}).get("seconds", {})
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
