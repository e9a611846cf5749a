"""The table of one study in an Optuna storage: rows appended in one write, ended in one more, read as plain values.

Every kind of row is an Optuna study of its own in one storage, so that Optuna's dashboard shows trials, retests and held-out
evaluations as such. A row has ended when its attribute "end" is written; Optuna's own state follows, and is caught up on opening.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from halosearch.errors import StoreError, VersionError
from halosearch.record import format2
from halosearch.record.address import MARK, Database
from halosearch.record.backup import Backup, recover
from halosearch.record.evaluation import (
    ANCHOR,
    ARM,
    COMPLETE,
    FAILED,
    HELD_OUT,
    INFEASIBLE,
    PRUNED,
    RATE,
    REFERENCE,
    RETEST,
    RIVAL,
    RIVAL_HELD_OUT,
    STEP_TIME,
    STEP_TIMES,
    TRIAL,
    Evaluation,
)
from halosearch.record.journal import check, mend, open_storage
from halosearch.spec.study import FORMAT

if TYPE_CHECKING:
    from halosearch.record.database import Patient

STUDY = "halosearch"
READS = 5
"""How often a reader reads while a driver appends, before it calls the record damaged."""
MAXIMIZE, MINIMIZE = "maximize", "minimize"
OBJECTIVES = {
    TRIAL: {"score": MAXIMIZE, "macs": MINIMIZE},
    ANCHOR: {"step_time_s": MINIMIZE},
    STEP_TIME: {"step_time_s": MINIMIZE},
    STEP_TIMES: {"seconds": MINIMIZE},
}
"""What Optuna shows, where it begins a study; studies that it has begun keep their own."""
TITLES = {
    ANCHOR: "anchor's step time",
    REFERENCE: "reference model",
    RETEST: "retests",
    RATE: "learning rates",
    STEP_TIME: "step times",
    HELD_OUT: "held-out images",
    RIVAL: "rivals",
    RIVAL_HELD_OUT: "rivals on held-out images",
    ARM: "arms",
    STEP_TIMES: "step times of arms",
}
STATES = {
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    INFEASIBLE: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}
DESCRIBED = "described"
"""What a candidate is said by beside the pool's dials."""
DECIDED = ("id", "kind", "seed", "trial", "rung", "repeat", "rate", "after", "known")


class Table:
    """The rows of one study, in a journal file or a database. One process at a time may write (see `hold_study`)."""

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
            VersionError: it was written in another format; format 2 can be read.
            EnvironmentFault: the database does not answer.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._call: Callable[..., Any] = _just_call
        self._backup: Backup | None = None
        self._patient: Patient | None = None
        self._storage: BaseStorage
        self._read_only, self.cut_bytes = read_only, 0
        self._name = STUDY if isinstance(place, Path) else place.study
        self._studies: dict[str, optuna.Study] = {}
        self._places: dict[int, tuple[str, int]] = {}
        if isinstance(place, Path):
            self._open_file(place, create=create, tell=tell)
        else:
            from halosearch.record.database import open_database  # SQLAlchemy: not for journals

            self._storage, self._patient = open_database(place, tell=tell)
            self._call = self._patient
            self._study(TRIAL)
        self._check_format()

    def _open_file(self, path: Path, *, create: bool, tell: Callable[[str], None]) -> None:
        if not self._read_only and (words := recover(path)):
            tell(words)
        if not create and not path.exists():
            raise StoreError(f"the store {path} is missing", "restore it, or start anew under another --name")
        unterminated = check(path) if self._read_only else mend(path)
        try:
            self._storage = open_storage(path)
            self._study(TRIAL)
        except (KeyError, AttributeError, ValueError, AssertionError) as error:
            raise StoreError(
                f"the store {path} is damaged ({type(error).__name__})",
                "restore the file from a backup, or start anew under another --name",
            ) from error
        if not self._read_only:
            self.cut_bytes, self._backup = unterminated, Backup(path)

    def _check_format(self) -> None:
        facts = self.facts()
        if not facts and not self._read_only:
            self.set_fact("format", FORMAT)
        found = facts.get("format", FORMAT)
        if found == format2.FORMAT and self._read_only:
            return
        if found != FORMAT:
            raise VersionError(
                f"the study was written in format {found}, this version writes format {FORMAT}",
                "continue it with the version of halosearch that began it, or start anew under another --name"
                + ("; status, frontier, report and export read it" if found == format2.FORMAT else ""),
            )

    def held_by(self, renew: Callable[[], None], cut: Callable[[], None]) -> None:
        """How to make sure of the lock on a database before anything is written, and how to let go of it where it hangs."""
        if self._patient is not None:
            self._patient.again, self._patient.cut_too = renew, cut

    def _study(self, kind: str) -> optuna.Study:
        if kind not in self._studies:
            name = self._name if kind == TRIAL else f"{self._name}: {TITLES[kind]}"
            objectives = OBJECTIVES.get(kind, {"score": MAXIMIZE})
            self._studies[kind] = self._call(_find_study, self._storage, name, objectives, create=not self._read_only)
        return self._studies[kind]

    def rows(self) -> list[Evaluation]:
        """All rows by id.

        Raises:
            StoreError: a row is missing.
        """
        for _ in range(READS if self._read_only else 1):
            found = self._read_rows()
            if [row.id for row in found] == list(range(len(found))):
                return found
        raise StoreError("rows of the record are missing or there twice", "restore it from a backup")

    def _read_rows(self) -> list[Evaluation]:
        """The rows of every kind, kind by kind: beside a driver, one kind may be newer than another."""
        frozen: list[FrozenTrial] = self._call(self._study(TRIAL).get_trials, deepcopy=False)
        if self.facts().get("format") == format2.FORMAT:
            return format2.rows_of(frozen, self.facts())
        names = {study.study_name for study in self._call(self._storage.get_all_studies)}
        for kind, title in TITLES.items():
            if f"{self._name}: {title}" in names:
                frozen = frozen + self._call(self._study(kind).get_trials, deepcopy=False)
        frozen = sorted((trial for trial in frozen if "id" in trial.user_attrs), key=lambda t: int(t.user_attrs["id"]))
        self._places = {int(t.user_attrs["id"]): (str(t.user_attrs["kind"]), t._trial_id) for t in frozen}
        return [_row(trial) for trial in frozen]

    def last_change(self) -> datetime | None:
        """When the last row ended; None before one has."""
        ended = [
            trial.datetime_complete
            for study in self._call(self._storage.get_all_studies)
            if study.study_name == self._name
            or study.study_name.startswith(f"{self._name}: ")  # a database holds others, too
            for trial in self._call(self._storage.get_all_trials, study._study_id, deepcopy=False)
        ]
        return max((moment for moment in ended if moment is not None), default=None)

    def append(self, row: Evaluation, distributions: Mapping[str, BaseDistribution]) -> None:
        """Write a decided row in one write."""
        dials = {name: value for name, value in row.candidate.items() if name in distributions}
        other = {name: value for name, value in row.candidate.items() if name not in distributions}
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dials,
            distributions={name: distributions[name] for name in dials},
            user_attrs={name: getattr(row, name) for name in DECIDED}
            | {"costs": row.costs, MARK: f"evaluation-{row.id}"}
            | ({DESCRIBED: other} if other else {}),
        )
        study_id = self._study(row.kind)._study_id
        self._places[row.id] = row.kind, self._call(self._storage.create_new_trial, study_id, template_trial=trial)

    def end(self, row: Evaluation) -> None:
        """Write how a row ended; Optuna's own state comes after, so that a crash in between loses nothing."""
        kind, trial_id = self._places[row.id]
        end = {"state": row.state, "result": row.result, "reason": row.reason, "runs": row.runs}
        self._call(self._storage.set_trial_user_attr, trial_id, "end", end)
        self._tell(kind, trial_id, row)
        self.back_up()

    def _tell(self, kind: str, trial_id: int, row: Evaluation) -> None:
        values = None
        if row.state == COMPLETE:
            values = [_value(row, name) for name in self._call(lambda: self._study(kind).metric_names) or ["score"]]
        number = self._call(self._storage.get_trial_number_from_id, trial_id)
        self._call(self._study(kind).tell, number, values, state=STATES[row.state], skip_if_finished=True)

    def catch_up(self) -> None:
        """Give Optuna the states of rows whose end was written before a crash kept it from knowing."""
        for row in self.rows():
            kind, trial_id = self._places[row.id]
            if row.runs and not self._call(self._storage.get_trial, trial_id).state.is_finished():
                self._tell(kind, trial_id, row)

    def set_fact(self, key: str, value: Any) -> None:
        """Keep what the whole study rests on (its inputs, its data): no result."""
        self._call(self._study(TRIAL).set_user_attr, key, value)
        self.back_up()

    def facts(self) -> dict[str, Any]:
        """Everything kept by `set_fact`."""
        return dict(self._call(lambda: self._study(TRIAL).user_attrs))

    def close(self) -> None:
        """Let go of the database's connections."""
        if self._patient is not None:
            self._patient.engine.dispose()

    def back_up(self, *, now: bool = False) -> None:
        """Let the backup of a journal follow; it does so by itself every few seconds."""
        if self._backup is not None:
            self._backup.follow(now=now)


def _just_call(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return call(*args, **options)


def _find_study(storage: BaseStorage, name: str, objectives: dict[str, str], *, create: bool) -> optuna.Study:
    """The study in a storage; a reader writes nothing, and finds an empty one where none was begun."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    try:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
    except KeyError:
        study = optuna.create_study(
            storage=storage if create else None,
            study_name=name,
            directions=list(objectives.values()),  # type: ignore[arg-type]
            sampler=sampler,
            load_if_exists=create,
        )
    if create:
        with warnings.catch_warnings():  # what Optuna's dashboard calls the values of a trial
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if study.metric_names is None:
                study.set_metric_names(list(objectives))
    return study


def _value(row: Evaluation, objective: str) -> float:
    if row.kind == ANCHOR:
        return float(row.result["seconds"]["median"])
    return float(row.costs[objective] if objective in row.costs else row.result[objective])


def _row(trial: FrozenTrial) -> Evaluation:
    attributes = trial.user_attrs
    decided = {name: attributes[name] for name in DECIDED}
    candidate = dict(trial.params) | dict(attributes.get(DESCRIBED, {}))
    row = Evaluation(candidate=candidate, costs=dict(attributes["costs"]), **decided)
    end = attributes.get("end")
    return row if end is None else replace(row, **end)
