"""Run a study: clock, workers, loop, record, report; again and again until it is done."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch

from halosearch.cost.candidate_pool import twin_macs
from halosearch.cost.devices import fingerprint
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.space import DIALS
from halosearch.files import write_text
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.data.sources import open_data
from halosearch.record.folders import Folders
from halosearch.record.storage import held, open_for_writing
from halosearch.record.store import FAILED, Store, Trial
from halosearch.record.study_lock import Holder
from halosearch.report.publish import DATA_FILE, Publisher
from halosearch.run.anchor import Clocked, check_device, clock_of
from halosearch.run.choose_engine import MakeWorkers, workers_at
from halosearch.run.comparable import (
    check_same_data,
    check_same_recipe,
    recipe_of,
    timing_plan,
)
from halosearch.run.data_facts import data_facts, tell_of_data
from halosearch.run.evaluate import Settings
from halosearch.run.jobs import Job, MachineFaultError, Workers
from halosearch.run.ledger import StudyLedger
from halosearch.run.loop import Loop, Parts
from halosearch.run.place import LOCAL, Place
from halosearch.run.resource_monitor import Watch, check_disk
from halosearch.search.candidates import nearest_published, past, reference_dials
from halosearch.search.checks import checks, finals, may_search, uniform_trials
from halosearch.search.pool import Pool
from halosearch.search.sampler import POOL, Guide, Proposer
from halosearch.search.schedule import Schedule, Shape
from halosearch.search.trial_seconds import trial_seconds
from halosearch.spec.session import check_inputs, data_request, is_begun
from halosearch.spec.study import StudySpec, write_spec

GUIDE_COST = "macs"
"""The cost that guides the search: exact, and the same on every machine. The front is by measured step time."""


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
    """When to stop: `stopping` asks for an orderly end; `deadline` (on `clock`) ends dispatch and then the running jobs.

    `reason` says why a study stopped that nobody asked to.
    """

    stopping: bool = False
    reason: str = ""
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    def stop_now(self) -> bool:
        """Whether running jobs should write their checkpoints and stop."""
        return bool(self.stopping or self.reason) or (self.deadline is not None and self.clock() >= self.deadline)

    def may_dispatch(self) -> bool:
        """Whether new jobs may start."""
        return not self.stop_now()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: the summary, the page, whether anything is left to do, whether the search was refused (R0 failed)."""

    summary: dict[str, Any]
    page: Path
    finished: bool
    refused: bool = False


def run_study(
    spec: StudySpec,
    folders: Folders,
    watcher: Watcher,
    control: Control,
    cell: pd.DataFrame,
    place: Place | None = None,
    make_workers: MakeWorkers | None = None,
    *,
    force: bool = False,
) -> Ended:
    """Begin or continue a study until it is done, stopped or out of time; the report is written in every case.

    `place`: where its jobs run (default: processes of this machine).
    `force`: search even where the proxy was shown not to rank the cell's candidates.

    Raises:
        HalosearchError: data, device, disk or store are at fault; what was recorded stays.
    """
    place = place or Place()
    try:
        with held(spec, folders) as holder:
            make = make_workers or workers_at(place)
            return _run(spec, folders, watcher, control, cell, place, make, holder, force=force)
    except OSError as error:
        raise _disk_fault(error, folders) from error
    except MachineFaultError as error:
        raise EnvironmentFault(
            str(error), f"mend that and run the same command again; nothing recorded in {folders.study} is lost"
        ) from error


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
    place: Place,
    make_workers: MakeWorkers,
    holder: Holder | None,
    *,
    force: bool,
) -> Ended:
    check_disk(folders.study)
    data = open_data(data_request(spec, folders))
    store = _open_store(spec, folders, watcher, holder)
    check_same_data(data, store)
    check_same_recipe(store, spec)
    store.note("cell", {"size": len(cell)})
    tell_of_data(data, spec, watcher.message)
    write_text(folders.study / DATA_FILE, json.dumps(data_facts(data, spec), indent=1))
    torch.set_num_threads(spec.threads)
    pool = Pool(cell, DIALS)
    publisher = Publisher(spec, folders, store, len(cell))
    settings = settings_of(spec, folders, data)
    watch = Watch(folders.study, folders.spent, place.share(spec), _gpu_seconds(spec))
    workers = make_workers(spec, settings, folders, _identity(store), watcher.message)
    finished = refused = False
    try:
        clock = clock_of(store, workers, watcher.message, control.stop_now)
        if clock is not None:
            if place.engine == LOCAL:
                check_device(clock, fingerprint(torch.device(spec.device)))
            clocked = Clocked(workers, clock)
            loop = _loop(spec, store, pool, clocked, watcher, control, publisher.refresh, watch, force=force)
            finished = loop.run()
            refused = loop.refused
    finally:
        workers.close()
        with contextlib.suppress(OSError):  # a full disk is said by what met it first
            watch.write()
    store.back_up(now=True)
    summary, page = publisher.publish()
    store.close()
    if finished:
        shutil.rmtree(folders.checkpoints, ignore_errors=True)
    if watch.disk_full:
        raise EnvironmentFault(
            f"the disk of {folders.study} is nearly full; the study stopped in order",
            "free some space and run the same command again; nothing recorded is lost",
        )
    return Ended(summary, page, finished, refused)


def _gpu_seconds(spec: StudySpec) -> float | None:
    return None if spec.max_gpu_hours is None else 3600 * spec.max_gpu_hours


def _identity(store: Store) -> str:
    """What tells this study from every other one, wherever its folder is copied to."""
    if "identity" not in store.notes():
        store.note("identity", {"id": uuid.uuid4().hex})
    return str(store.notes()["identity"]["id"])


def _open_store(spec: StudySpec, folders: Folders, watcher: Watcher, holder: Holder | None) -> Store:
    """The record, mended; study.yaml is written once it is known to belong to it."""
    begun, mine = (folders.study / DATA_FILE).exists(), is_begun(folders)
    if not begun and not folders.journal.exists():
        write_spec(folders.study, spec)
    store = open_for_writing(spec, folders, holder, watcher.message, begun=begun, mine=mine)
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
    refresh: Callable[[Trial], None],
    watch: Watch,
    *,
    force: bool,
) -> Loop:
    uniform = uniform_trials(spec)
    guide = Guide(
        GUIDE_COST,
        tuple(map(float, spec.tier.rungs)),
        trial_seconds(twin_macs(pool.rows, spec.tier.width_multiplier)) if spec.sampler == POOL else None,
        reference=0.0,
    )
    eta = spec.tier.eta if spec.sampler == POOL else 0
    shape = Shape(spec.trials, uniform, len(spec.tier.rungs) - 1, eta, spec.lookahead - 1)
    state = past(store, pool, GUIDE_COST)
    schedule = Schedule(shape, Proposer(pool, spec.sampler, spec.seed, uniform, guide))

    def dials(trial: int) -> dict[str, Any]:
        return pool.params(schedule.row_of(trial))

    def gate() -> bool:
        return may_search(spec, store, watcher.message, force=force)

    def look(running: int) -> None:
        reason = watch.look(running)
        if reason and not control.reason:
            control.reason = reason
            watcher.message(f"stopping: {reason}")

    return Loop(
        Parts(
            spec.seed,
            reference_dials(pool, spec.budget.params),
            lambda outcomes: checks(spec, outcomes, dials),
            gate,
            lambda: finals(spec, store, dials),
        ),
        schedule,
        state,
        workers,
        StudyLedger(store, pool, nearest_published(spec.budget.params), spec.tier.rungs, refresh),
        pool.params,
        control.may_dispatch,
        control.stop_now,
        watcher.event,
        look,
    )


def settings_of(spec: StudySpec, folders: Folders, data: Dataset) -> Settings:
    """What evaluations need of a spec."""
    tier = spec.tier
    return Settings(
        replace(data_request(spec, folders), decoded=getattr(data, "folder", None)),
        recipe_of(spec),
        tier.rungs,
        tier.width_multiplier,
        timing_plan(spec),
        spec.device,
        spec.threads,
        folders.checkpoints,
        data.report.fingerprint,
    )


def exit_code(summary: dict[str, Any]) -> int:
    """0, or 7 where trials ended and none gave a usable result."""
    usable = summary["counts"].get("complete", 0) > 0
    ended = any(state in summary["counts"] for state in (FAILED, "infeasible"))
    return 7 if ended and not usable else 0
