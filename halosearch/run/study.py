"""Run a study: data, table, planner, workers, driver; again and again until it is done. The page is a reader's business."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from halosearch.cost.devices import fingerprint
from halosearch.errors import EnvironmentFault
from halosearch.files import write_text
from halosearch.proxy.data.dataset import DataRequest, Dataset
from halosearch.proxy.data.folder import DecodingStoppedError
from halosearch.proxy.data.sources import open_data
from halosearch.record.evaluation import FAILED, INFEASIBLE, Evaluation
from halosearch.record.folders import Folders
from halosearch.record.storage import held, open_for_writing
from halosearch.record.study_lock import StudyLock
from halosearch.record.table import Table
from halosearch.record.trials import anchor_of
from halosearch.report.evidence import DATA_FILE
from halosearch.report.experiment_publisher import ExperimentPublisher
from halosearch.report.publisher import Publisher
from halosearch.run.anchor import check_device
from halosearch.run.begin import is_begun
from halosearch.run.choose_engine import MakeWorkers, workers_at
from halosearch.run.driver import Control, Driver, Planner, ProgressListener
from halosearch.run.evaluate import Settings
from halosearch.run.experiments import note_expectations
from halosearch.run.place import LOCAL, Place
from halosearch.run.protocol import MachineFaultError
from halosearch.run.resource_monitor import ResourceMonitor, check_disk
from halosearch.run.same_inputs import check_same_inputs, data_facts, recipe_of, tell_of_data, timing_plan
from halosearch.search.design import design_of
from halosearch.search.experiment import ExperimentPlanner
from halosearch.search.planner import FINISHED, REFUSED, SearchPlanner
from halosearch.search.pool import Pool
from halosearch.spec.study import StudySpec, write_spec

SAY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a study: what it is, where it lies, all candidates of its budget, who is told, when to stop, where its work is done.

    `make_workers`: who makes the workers (default: by the `place`). `force`: search even where the proxy does not rank.
    """

    spec: StudySpec
    folders: Folders
    candidates: pd.DataFrame
    listener: ProgressListener
    control: Control
    place: Place = field(default_factory=Place)
    make_workers: MakeWorkers | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its summary (None where it could not be made), the page, whether anything is left to do, whether the search was refused."""

    summary: dict[str, Any] | None
    page: Path
    finished: bool
    refused: bool = False


def run_study(run: Run) -> Ended:
    """Begin or continue a study until it is done, stopped or out of time; the report is written in every case.

    Raises:
        HalosearchError: data, device, disk or record are at fault; what was recorded stays.
    """
    try:
        with held(run.spec, run.folders) as lock:
            return _run(run, lock)
    except OSError as error:
        raise _disk_fault(error, run.folders) from error
    except MachineFaultError as error:
        raise EnvironmentFault(
            str(error), f"mend that and run the same command again; nothing recorded in {run.folders.study} is lost"
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


def _run(run: Run, lock: StudyLock | None) -> Ended:
    spec, folders, say = run.spec, run.folders, run.listener.message
    check_disk(folders.study)
    try:
        data = open_data(data_request(spec, folders), watch=_watch(run))
    except DecodingStoppedError:
        if not (folders.study / DATA_FILE).exists() and not folders.journal.exists():
            write_spec(folders.study, spec)  # so that it can be continued by its name
        say("stopped while images were decoded; that begins anew with the next run")
        return Ended(None, folders.study, finished=False)
    table = _open_table(run, lock)
    check_same_inputs(table, spec, data)
    write_spec(folders.study, spec)
    table.set_fact("pool", {"size": len(run.candidates)})
    tell_of_data(data, spec, say)
    write_text(folders.study / DATA_FILE, json.dumps(data_facts(data, spec), indent=1))
    torch.set_num_threads(spec.threads)
    rows = table.rows()
    anchor = anchor_of(rows)
    if run.place.engine == LOCAL and anchor is not None:
        check_device(anchor, fingerprint(torch.device(spec.device)))
    if spec.experiment is not None:
        note_expectations(table, spec.experiment, say)
        if run.place.engine == LOCAL and "device" not in table.facts():
            table.set_fact("device", fingerprint(torch.device(spec.device)))
        publisher: Publisher = ExperimentPublisher(spec, folders, table, rows, say)
    else:
        publisher = Publisher(spec, folders, rows, len(run.candidates), say)
    monitor = ResourceMonitor(
        folders.study,
        folders.spent,
        run.place.share(spec),
        None if spec.max_gpu_hours is None else 3600 * spec.max_gpu_hours,
    )
    status = _drive(run, table, rows, publisher, monitor, data)
    table.back_up(now=True)
    summary = publisher.publish()
    table.close()
    if status == FINISHED:
        shutil.rmtree(folders.checkpoints, ignore_errors=True)
    if monitor.disk_full:
        raise EnvironmentFault(
            f"the disk of {folders.study} is nearly full; the study stopped in order",
            "free some space and run the same command again; nothing recorded is lost",
        )
    return Ended(summary, publisher.page, status == FINISHED, status == REFUSED)


def _watch(run: Run) -> Callable[[int, int], bool]:
    """Says every few seconds how far decoding is; stops when the study does."""
    said = [time.monotonic()]

    def watch(done: int, total: int) -> bool:
        if time.monotonic() - said[0] > SAY_EVERY_S:
            said[0] = time.monotonic()
            run.listener.message(f"decoding images: {done:,} of {total:,}")
        return not run.control.stop_now()

    return watch


def _drive(
    run: Run, table: Table, rows: list[Evaluation], publisher: Publisher, monitor: ResourceMonitor, data: Dataset
) -> str:
    """Let the driver run; returns how it ended."""
    planner, distributions = _planner(run)
    make = run.make_workers or workers_at(run.place)
    settings = settings_of(run.spec, run.folders, data)
    workers = make(run.spec, settings, run.folders, _identity(table), run.listener.message)

    def watch(running: int) -> None:
        reason = monitor.look(running)
        if reason and not run.control.reason:
            run.control.reason = reason
            run.listener.message(f"stopping: {reason}")

    driver = Driver(
        planner,
        workers,
        run.control,
        run.listener,
        table,
        rows,
        distributions,
        len(run.spec.preset.rungs) - 1,
        watch,
        publisher.refresh,
    )
    try:
        return driver.run()
    finally:
        workers.close()
        with contextlib.suppress(OSError):  # a full disk is said by what met it first
            monitor.write()


def _planner(run: Run) -> tuple[Planner, dict[str, Any]]:
    """What decides, and the distributions of what it proposes: a search over the pool, or an experiment's arms."""
    if run.spec.experiment is not None:
        return ExperimentPlanner(run.spec.experiment, run.spec.seed), {}
    pool = Pool(run.candidates, run.spec.search_space().dials())
    return SearchPlanner(design_of(run.spec, pool, force=run.force), pool), pool.distributions


def _identity(table: Table) -> str:
    """What tells this study from every other one, wherever its folder is copied to."""
    if "identity" not in table.facts():
        table.set_fact("identity", {"id": uuid.uuid4().hex})
    return str(table.facts()["identity"]["id"])


def _open_table(run: Run, lock: StudyLock | None) -> Table:
    """The record, mended; study.yaml is written once it is known to belong to it."""
    folders, say = run.folders, run.listener.message
    begun, mine = (folders.study / DATA_FILE).exists(), is_begun(folders)
    if not begun and not folders.journal.exists():
        write_spec(folders.study, run.spec)
    table = open_for_writing(run.spec, folders, lock, say, begun=begun, mine=mine)
    if table.cut_bytes:
        say(f"mended the store: {table.cut_bytes} bytes of an unfinished last line were cut")
    table.catch_up()
    return table


def data_request(spec: StudySpec, folders: Folders) -> DataRequest:
    """What data the study reads."""
    preset = spec.preset
    largest = max(spec.search_space().image_size)
    return DataRequest(
        spec.data, spec.seed, preset.train_images, preset.test_images, largest, folders.cache, dense=preset.dense
    )


def settings_of(spec: StudySpec, folders: Folders, data: Dataset) -> Settings:
    """What evaluations need of a spec."""
    return Settings(
        replace(data_request(spec, folders), decoded=getattr(data, "folder", None)),
        recipe_of(spec.preset),
        spec.preset.rungs,
        spec.preset.width_multiplier,
        timing_plan(spec),
        spec.device,
        spec.threads,
        folders.checkpoints,
        data.report.fingerprint,
        spec.preset.timed,
        spec.preset.zero_cost,
        spec.preset.eta > 0,
    )


def exit_code(summary: dict[str, Any]) -> int:
    """0, or 7 where trials ended and none gave a usable result."""
    usable = summary["counts"].get("complete", 0) > 0
    ended = any(state in summary["counts"] for state in (FAILED, INFEASIBLE))
    return 7 if ended and not usable else 0
