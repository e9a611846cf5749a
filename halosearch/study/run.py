"""Run a study: clock, workers, loop, record, report; again and again until it is done."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from halosearch.errors import EnvironmentFault, StoreError
from halosearch.files import write_text
from halosearch.proxy.sources import open_data
from halosearch.records.journal import hold_study
from halosearch.records.store import FAILED, Store
from halosearch.search.jobs import REFERENCE, RETEST, TRIAL, Job, MachineFaultError, Workers
from halosearch.search.loop import Loop, Plan
from halosearch.search.sampler import Pool, Proposer
from halosearch.search.workers import LocalWorkers
from halosearch.space.search_space import DIALS
from halosearch.study.candidates import nearest_published, past, reference_dials, row_costs
from halosearch.study.comparable import (
    anchor_step_time,
    check_same_data,
    check_same_recipe,
    recipe_of,
    timing_plan,
)
from halosearch.study.data import data_facts, tell_of_data
from halosearch.study.evaluate import Settings, make_evaluate
from halosearch.study.publish import DATA_FILE, Publisher
from halosearch.study.session import Folders, check_inputs, data_request
from halosearch.study.spec import StudySpec, write_spec

MIN_FREE_BYTES = 200 * 2**20
STARTUP_SHARE = 0.5
"""Share of a study's trials that are drawn evenly from the cell before the sampler takes over (at most `MAX_STARTUP`)."""
MAX_STARTUP = 16


class Watcher(Protocol):
    """Who is told how a study goes: the terminal."""

    def message(self, text: str) -> None:
        """One line for the reader."""
        ...

    def event(self, kind: str, job: Job, info: dict[str, Any]) -> None:
        """A job started, moved, ended, was requeued or stopped."""
        ...


@dataclass(slots=True)
class Control:
    """When to stop: `stopping` asks for an orderly end; `deadline` (on `clock`) ends dispatch and then the running jobs."""

    stopping: bool = False
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    def stop_now(self) -> bool:
        """Whether running jobs should write their checkpoints and stop."""
        return self.stopping or (self.deadline is not None and self.clock() >= self.deadline)

    def may_dispatch(self) -> bool:
        """Whether new jobs may start."""
        return not self.stop_now()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: the summary, the page, whether anything is left to do."""

    summary: dict[str, Any]
    page: Path
    finished: bool


@dataclass(slots=True)
class _Ledger:
    """Writes what the loop decides; refreshes the report when the front gains a member."""

    store: Store
    pool: Pool
    nearest_to: str
    refresh: Callable[[], None]
    reference: dict[str, Any] = field(default_factory=dict)

    def propose(self, row: int) -> int:
        """Record a running trial."""
        return self.store.propose(self.pool.params(row), row_costs(self.pool.rows, row), self.pool.distributions)

    def begin_run(self, job: Job) -> int:
        """Count a start."""
        return self.store.begin_run(job.number) if job.kind == TRIAL else 1

    def finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        """Record the end of a trial, of its repetition, or of the reference model."""
        kept = {key: value for key, value in result.items() if key not in ("state", "reason")}
        if job.kind == TRIAL:
            self.store.finish(job.number, state, kept, reason)
            self.refresh()
        elif job.kind == RETEST:
            self.store.note(
                f"retest-{job.number}", {"state": state, "reason": reason, "seed": job.seed, "result": kept}
            )
        else:
            self.store.note(
                REFERENCE,
                {"state": state, "reason": reason, "dials": job.dials, "nearest_to": self.nearest_to, "result": kept},
            )


def run_study(
    spec: StudySpec,
    folders: Folders,
    watcher: Watcher,
    control: Control,
    cell: pd.DataFrame,
    make_workers: Callable[[StudySpec, Settings, Folders], Workers] | None = None,
) -> Ended:
    """Begin or continue a study until it is done, stopped or out of time; the report is written in every case.

    Raises:
        HalosearchError: data, device, disk or store are at fault; what was recorded stays.
    """
    lock = hold_study(folders.study)
    try:
        return _run(spec, folders, watcher, control, cell, make_workers or local_workers)
    except OSError as error:
        raise _disk_fault(error, folders) from error
    except MachineFaultError as error:
        raise EnvironmentFault(
            str(error), f"free some space and run the same command again; nothing recorded in {folders.study} is lost"
        ) from error
    finally:
        lock.release()


def _disk_fault(error: OSError, folders: Folders) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault(
            "the disk is full",
            f"free some space and run the same command again; nothing recorded in {folders.study} is lost",
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return EnvironmentFault(f"cannot write to {folders.study}", "choose another folder with --dir")
    return error


def _run(
    spec: StudySpec,
    folders: Folders,
    watcher: Watcher,
    control: Control,
    cell: pd.DataFrame,
    make_workers: Callable[[StudySpec, Settings, Folders], Workers],
) -> Ended:
    check_disk(folders.study)
    data = open_data(data_request(spec, folders))
    store = _open_store(spec, folders, watcher)
    check_same_data(data, store)
    check_same_recipe(store, spec)
    store.note("cell", {"size": len(cell)})
    tell_of_data(data, spec, watcher.message)
    write_text(folders.study / DATA_FILE, json.dumps(data_facts(data, spec), indent=1))
    pool = Pool(cell, DIALS)
    publisher = Publisher(spec, folders, store, len(cell))
    settings = settings_of(
        spec, folders, anchor_step_time(spec, store, watcher.message), decoded=getattr(data, "folder", None)
    )
    workers = make_workers(spec, settings, folders)
    try:
        finished = _loop(spec, store, pool, workers, watcher, control, publisher.refresh).run()
    finally:
        workers.close()
    summary, page = publisher.publish()
    if finished:
        shutil.rmtree(folders.checkpoints, ignore_errors=True)
    return Ended(summary, page, finished)


def _open_store(spec: StudySpec, folders: Folders, watcher: Watcher) -> Store:
    """The record, mended; study.yaml is written once it is known to belong to it."""
    if not folders.journal.exists():
        if (folders.study / DATA_FILE).exists():
            raise StoreError(
                f"the store {folders.journal} is missing", "restore it, or start anew under another --name"
            )
        write_spec(folders.study, spec)
    store = Store(folders.journal, create=True)
    if store.cut_bytes:
        watcher.message(f"mended the store: {store.cut_bytes} bytes of an unfinished last line were cut")
    check_inputs(store, spec)
    write_spec(folders.study, spec)
    store.finish_interrupted()
    return store


def _loop(
    spec: StudySpec,
    store: Store,
    pool: Pool,
    workers: Workers,
    watcher: Watcher,
    control: Control,
    refresh: Callable[[], None],
) -> Loop:
    state = past(store, pool)
    lag = spec.lookahead - 1
    startup = min(MAX_STARTUP, max(1, round(STARTUP_SHARE * spec.tier.trials)))
    return Loop(
        Plan(spec.trials, spec.retests, spec.seed),
        state,
        Proposer(pool, spec.sampler, spec.seed, lag, startup),
        workers,
        _Ledger(store, pool, nearest_published(spec.budget.params), refresh),
        pool.params,
        reference_dials(pool, spec.budget.params),
        control.may_dispatch,
        control.stop_now,
        watcher.event,
    )


def local_workers(spec: StudySpec, settings: Settings, folders: Folders) -> Workers:
    """Worker processes on this machine, never more than the study's lookahead."""
    return LocalWorkers(min(spec.workers, spec.lookahead), make_evaluate, settings, folders.log)


def settings_of(spec: StudySpec, folders: Folders, anchor_step_time_s: float, decoded: Path | None = None) -> Settings:
    """What evaluations need of a spec."""
    tier = spec.tier
    return Settings(
        replace(data_request(spec, folders), decoded=decoded),
        recipe_of(spec),
        tier.rungs,
        tier.width_multiplier,
        timing_plan(spec),
        anchor_step_time_s,
        spec.device,
        spec.threads,
        folders.checkpoints,
    )


def check_disk(folder: Path) -> None:
    """Refuse to begin where the disk is nearly full.

    Raises:
        EnvironmentFault: less than 200 MiB are free.
    """
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise EnvironmentFault(
            f"only {free / 2**20:.0f} MiB are free where {folder} lies; a study needs {MIN_FREE_BYTES / 2**20:.0f}",
            "free some space, or choose another folder with --dir",
        )


def exit_code(summary: dict[str, Any]) -> int:
    """0, or 7 where trials ended and none gave a usable result."""
    usable = summary["counts"].get("complete", 0) > 0
    ended = any(state in summary["counts"] for state in (FAILED, "infeasible"))
    return 7 if ended and not usable else 0
