"""A study's trials in an Optuna storage: proposed in one write, finished in one more, read as plain records."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from halosearch.errors import StoreError, VersionError
from halosearch.record.backup import Backup, recover
from halosearch.record.database import MARK, Database, Patient, open_database
from halosearch.record.journal import check, mend, open_storage

FORMAT = 2
"""Version of what is written; a study of another one is refused, not guessed at."""
STUDY = "halosearch"
OBJECTIVES = ("score", "step_time_s")
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
    """The record of one study, in a journal file or a database. One process at a time may write (see `hold_study`)."""

    def __init__(
        self,
        place: Path | Database,
        *,
        create: bool,
        read_only: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Mend and open; a reader mends nothing, for a driver may be writing. `tell`: told of repairs and outages.

        Raises:
            StoreError: the record is damaged beyond its backup, or absent where it should not be.
            VersionError: it was written in another format.
            EnvironmentFault: the database does not answer.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._call: Callable[..., Any] = _just_call
        self._backup: Backup | None = None
        self._ids: list[int] = []
        if isinstance(place, Path):
            opened = _open_file(place, create=create, read_only=read_only, tell=tell)
            self._study, self.cut_bytes, self._backup = opened
        else:
            storage, self._call = open_database(place, tell=tell)
            self._study, self.cut_bytes = self._call(_find_study, storage, place.study, create=create), 0
        self._storage = self._study._storage
        attributes = self._call(lambda: self._study.user_attrs)
        if not read_only and not attributes and not self._frozen():
            self.note("format", FORMAT)
        found = attributes.get("format", FORMAT)
        if found != FORMAT:
            raise VersionError(
                f"the study was written in format {found}, this version reads format {FORMAT}",
                "continue it with the version of halosearch that began it, or start anew under another --name",
            )

    def held_by(self, renew: Callable[[], None], cut: Callable[[], None]) -> None:
        """How to make sure of the lock on a database before anything is written, and how to let go of it where it hangs."""
        if isinstance(self._call, Patient):
            self._call.again, self._call.cut_too = renew, cut

    def _frozen(self) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._call(self._study.get_trials, deepcopy=False)
        return trials

    def _id(self, number: int) -> int:
        """Optuna's own number of a trial, which in a database counts over all studies."""
        if number >= len(self._ids):
            self._ids = [trial._trial_id for trial in self._frozen()]
        return self._ids[number]

    def _one(self, number: int) -> FrozenTrial:
        found: FrozenTrial = self._call(self._storage.get_trial, self._id(number))
        return found

    def _set(self, number: int, key: str, value: Any) -> None:
        self._call(self._storage.set_trial_user_attr, self._id(number), key, value)

    def propose(
        self, dials: dict[str, Any], costs: dict[str, int], distributions: dict[str, Any], move: tuple[int, int, int]
    ) -> int:
        """Append a running trial in one write; returns its number. `move`: its number, the rung to reach, moves known."""
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dials,
            distributions=distributions,
            user_attrs={"costs": costs, "moves": [list(move)], MARK: f"move-{move[0]}"},
        )
        trial_id = self._call(self._storage.create_new_trial, self._study._study_id, template_trial=trial)
        number = int(self._call(self._storage.get_trial_number_from_id, trial_id))
        if number == len(self._ids):
            self._ids.append(trial_id)
        return number

    def promote(self, number: int, move: tuple[int, int, int]) -> None:
        """Record that a trial goes on."""
        self._set(number, "moves", [*self._one(number).user_attrs["moves"], list(move)])

    def pause(self, number: int, result: dict[str, Any]) -> None:
        """Record what a running trial has come to."""
        self._set(number, "pause", result)

    def prune(self, number: int, reason: str) -> None:
        """End a paused trial with what it has come to."""
        self.finish(number, PRUNED, self._one(number).user_attrs["pause"], reason)

    def begin_run(self, number: int, rung: int) -> int:
        """Count one more start of a trial on its way to a rung; returns which run of this part it is (1 = first)."""
        runs = dict(self._one(number).user_attrs.get("runs", {}))
        runs[str(rung)] = runs.get(str(rung), 0) + 1
        self._set(number, "runs", runs)
        return int(runs[str(rung)])

    def finish(self, number: int, state: str, result: dict[str, Any], reason: str = "") -> None:
        """End a trial: the result is written first, so that a crash in between loses nothing."""
        self._set(number, "end", {"state": state, "result": result, "reason": reason})
        self._tell(number, state, result)
        self.back_up()

    def _tell(self, number: int, state: str, result: dict[str, Any]) -> None:
        values = [result["score"], result["step_time_s"]] if state == COMPLETE else None
        self._call(self._study.tell, number, values, state=STATES[state], skip_if_finished=True)

    def finish_interrupted(self) -> None:
        """Close the trials whose result was written before a crash kept them from being closed."""
        for trial in self._frozen():
            end = trial.user_attrs.get("end")
            if end and not trial.state.is_finished():
                self._tell(trial.number, end["state"], end["result"])

    def count(self) -> int:
        """Trials so far."""
        return len(self._frozen())

    def note(self, key: str, value: Any) -> None:
        """Keep something about the whole study (the reference, a retest) under a key."""
        self._call(self._study.set_user_attr, key, value)
        self.back_up()

    def notes(self) -> dict[str, Any]:
        """Everything kept by `note`."""
        return dict(self._call(lambda: self._study.user_attrs))

    def trial(self, number: int) -> Trial:
        """One trial."""
        return _plain(self._one(number))

    def trials(self) -> list[Trial]:
        """All trials by number."""
        return [_plain(trial) for trial in self._frozen()]

    def close(self) -> None:
        """Let go of the database's connections."""
        if isinstance(self._call, Patient):
            self._call.engine.dispose()

    def back_up(self, *, now: bool = False) -> None:
        """Let the backup of a journal follow; it does so by itself every few seconds."""
        if self._backup is not None:
            self._backup.follow(now=now)


def _just_call(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return call(*args, **options)


def _open_file(
    path: Path, *, create: bool, read_only: bool, tell: Callable[[str], None]
) -> tuple[optuna.Study, int, Backup | None]:
    """The study in a journal, the bytes cut from its end, its backup."""
    if not read_only and (words := recover(path)):
        tell(words)
    if not create and not path.exists():
        raise StoreError(f"the store {path} is missing", "restore it, or start anew under another --name")
    unterminated = check(path) if read_only else mend(path)
    try:
        study = _find_study(open_storage(path), STUDY, create=not read_only)
    except (KeyError, AttributeError, ValueError, AssertionError) as error:
        raise StoreError(
            f"the store {path} is damaged ({type(error).__name__})",
            "restore the file from a backup, or start anew under another --name",
        ) from error
    return study, 0 if read_only else unterminated, None if read_only else Backup(path)


def _find_study(storage: optuna.storages.BaseStorage, name: str, *, create: bool) -> optuna.Study:
    """The study in a storage; a reader writes nothing, and finds an empty one where none was begun."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    try:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
    except KeyError:
        study = optuna.create_study(
            storage=storage if create else None,
            study_name=name,
            directions=["maximize", "minimize"],
            sampler=sampler,
            load_if_exists=create,
        )
    if create:
        _name_objectives(study)
    return study


def _name_objectives(study: optuna.Study) -> None:
    """What Optuna's dashboard calls the two values of a trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names is None:
            study.set_metric_names(list(OBJECTIVES))


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
