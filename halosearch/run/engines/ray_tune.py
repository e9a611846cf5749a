"""The process that talks to Ray Tune: every row is one Tune trial, whose function evaluates it in a process of its own.

The study decides what comes next, so the searcher only hands its rows on, and no Tune scheduler stops any. Nothing of Tune's
experiment is gone on from: after a restart the study asks anew for what has not ended, with its checkpoints.

Facts about Ray 2.60 that this rests on: Tune sleeps for a second where nothing runs and nothing is suggested, so `suggest` waits
itself; it keeps one idle actor only, unless its cache is widened; it pickles its searcher, scheduler and callbacks, which are
therefore made anew by name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.joining import Refused, connect
from halosearch.run.engines.ray_client import CAPACITY, CHECKPOINT, LOG, NEWS, NOTE, WorkPlan
from halosearch.run.engines.ray_engine import listen, served, watch_head
from halosearch.run.engines.worker_sandbox import WorkerSandbox
from halosearch.run.protocol import PROGRESS, Event

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "10",
}
EXPERIMENT, STATE = "trials", "state.bin"
ASK_STOP_S = 1.0
POLL_S = 0.5


def serve(pipe: Connection, plan: WorkPlan) -> None:
    """Talk to Ray Tune until told to close."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    inbox = listen(pipe)
    with served(pipe):
        head = connect(plan.cluster, plan.size, plan.limits.memory_bytes)
        try:
            import ray.tune  # noqa: F401
        except ImportError as error:
            raise Refused(f"Ray Tune cannot be imported: {error}", "pip install 'halosearch[tune]'") from error
        watch_head(*head)
        _run(pipe, inbox, plan)
        raise RuntimeError("Ray Tune ended by itself")


def _run(pipe: Connection, inbox: Any, plan: WorkPlan) -> None:
    import ray
    from ray import tune

    from halosearch.run.engines import tune_parts

    flag = ray.remote(StopFlag).options(num_cpus=0).remote()
    folder = plan.folder.resolve() / "tune"
    shutil.rmtree(folder, ignore_errors=True)
    tune_parts.LINK = tune_parts.Link(pipe, inbox, flag, plan.size, folder / "given")
    function = tune.with_resources(
        tune.with_parameters(run_row, plan=plan, flag=flag),
        {"cpu": plan.cluster.cpus, "gpu": plan.cluster.gpus},
    )
    tuner = tune_parts.new_tuner(function, folder, EXPERIMENT)
    pipe.send((CAPACITY, plan.size))
    try:
        tuner.fit()
    except Exception as error:
        pipe.send((NOTE, f"Ray Tune ended: {type(error).__name__}"))
        raise


class StopFlag:
    """An actor that says whether the study was asked to stop."""

    def __init__(self) -> None:
        """Not yet."""
        self._set = False

    def set(self) -> None:
        """From now on."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was."""
        return self._set


def run_row(config: dict[str, Any], plan: WorkPlan, flag: Any) -> None:
    """One Tune trial: the row in the process that this actor keeps, its news as Tune's reports."""
    from ray import tune

    sandbox = _sandbox(plan)
    sandbox.begin(Evaluation(**config["row"]), Path(config["given"]).read_bytes() if config["given"] else None)
    asked, logs = time.monotonic(), dict[str, str]()
    while True:
        for kind, *rest in sandbox.poll(POLL_S):
            if kind == CHECKPOINT and rest[1] is not None:
                _report_checkpoint(rest[1])
            elif kind == LOG:
                logs[rest[0]] = rest[1].decode(errors="replace")
            elif kind == NEWS and rest[0].kind == PROGRESS:
                tune.report({"progress": json.dumps(rest[0].result), "done": False})
            elif kind == NEWS:
                _end(rest[0], logs)
                return
        if time.monotonic() - asked > ASK_STOP_S:
            asked = time.monotonic()
            if _asked_to_stop(flag):
                sandbox.stop()


def _end(event: Event, logs: dict[str, str]) -> None:
    from ray import tune

    said = {"kind": event.kind, "result": event.result, "reason": event.reason, "blameless": event.blameless}
    tune.report({"end": json.dumps({"event": said, "logs": logs}), "done": True})


def _asked_to_stop(flag: Any) -> bool:
    import ray

    with contextlib.suppress(Exception):
        return bool(ray.get(flag.is_set.remote(), timeout=5.0))
    return False


def _report_checkpoint(content: bytes) -> None:
    from ray import tune

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / STATE).write_bytes(content)
        tune.report({"progress": None, "done": False}, checkpoint=tune.Checkpoint.from_directory(folder))


def row_config(row: Evaluation, given: Path | None) -> dict[str, Any]:
    """A row as a Tune configuration."""
    return {"row": asdict(row), "given": str(given) if given else None}


_KEPT: list[WorkerSandbox] = []
"""The sandbox of this process, kept from one trial to the next: Tune reuses its actors."""


def _sandbox(plan: WorkPlan) -> WorkerSandbox:
    if not _KEPT:
        _KEPT.append(WorkerSandbox(plan))
    return _KEPT[0]
