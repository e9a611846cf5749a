"""The bridge to Ray Tune: every job of the study is one Tune trial, whose function runs the job in a process of its own.

The study decides what comes next, so the searcher only hands its jobs on, the scheduler starts those that were asked for, and no
Tune scheduler stops any. After a restart the experiment is restored: trials whose job the study asks for again go on from their
Tune checkpoints, or give the result that was lost on its way; the others are stopped before they start.

Facts about Ray 2.60 that this rests on: Tune sleeps for a second where nothing runs and nothing is suggested, so `suggest` waits
itself; it keeps one idle actor only, unless its cache is widened; after a damaged snapshot it begins anew with one sample, so
`is_finished` does not count samples; it pickles its searcher, scheduler and callbacks, which are therefore made anew by name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from halosearch.run.engines.cluster import GONE, HEADLESS, NEWS_WAIT_S
from halosearch.run.engines.joining import Refused, connect
from halosearch.run.engines.ray_client import (
    CAPACITY,
    FAULT,
    NOTE,
    Plan,
    abandon,
)
from halosearch.run.engines.tune_words import MAX_FAILURES, STATE, Inbox
from halosearch.run.engines.worker_sandbox import Desk
from halosearch.run.jobs import DIED, PROGRESS, Job

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "10",
}
EXPERIMENT = "trials"
ASK_STOP_S = 1.0
POLL_S = 0.5


def serve(pipe: Connection, plan: Plan) -> None:
    """Run the bridge until it is told to close."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    inbox = Inbox(pipe)
    try:
        head = connect(plan)
        try:
            import ray.tune  # noqa: F401
        except ImportError as error:
            raise Refused(f"Ray Tune cannot be imported: {error}", "pip install 'halosearch[tune]'") from error
        threading.Thread(target=_watch, args=head, daemon=True).start()
        _run(inbox, plan)
    except Refused as refused:
        pipe.send((FAULT, refused.sentence, refused.hint, False))
        time.sleep(1.0)
    except BaseException:  # noqa: BLE001  # whatever it is, the driver builds another bridge
        traceback.print_exc()
    abandon(GONE)


def _watch(host: str, port: int) -> None:
    """End this process when the head is gone: Tune would wait for ever."""
    answered = time.monotonic()
    while time.monotonic() - answered < 6 * NEWS_WAIT_S:
        time.sleep(2.0)
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), NEWS_WAIT_S).close()
            answered = time.monotonic()
    abandon(HEADLESS)


def _run(inbox: Inbox, plan: Plan) -> None:
    import ray
    from ray import tune

    from halosearch.run.engines import tune_parts

    inbox.flag = ray.remote(StopFlag).options(num_cpus=0).remote()
    folder = plan.folder.resolve() / "tune"
    tune_parts.LINK = tune_parts.Link(inbox, plan.size, folder / "given")
    function = tune.with_resources(
        tune.with_parameters(run_job, plan=plan, flag=inbox.flag),
        {"cpu": plan.cluster.cpus, "gpu": plan.cluster.gpus},
    )
    path = str(folder / EXPERIMENT)
    tuner = None
    if tune.Tuner.can_restore(path):
        try:
            tuner = tune.Tuner.restore(path, function, resume_unfinished=True, resume_errored=True)
            inbox.say(NOTE, "Tune's experiment is restored")
        except Exception:  # noqa: BLE001  # half-written: the study's own record knows what is left to do
            shutil.rmtree(path, ignore_errors=True)
    restored = tuner is not None
    tuner = tuner or tune_parts.new_tuner(function, folder, EXPERIMENT, MAX_FAILURES)
    inbox.say(CAPACITY, plan.size)
    if restored:
        tune_parts.LINK.expect(inbox.first_jobs())
    try:
        tuner.fit()
    except Exception as error:
        if restored:  # a snapshot that cannot be gone on from: the next bridge begins without it
            shutil.rmtree(path, ignore_errors=True)
        inbox.say(NOTE, f"Ray Tune ended: {type(error).__name__}")
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


def run_job(config: dict[str, Any], plan: Plan, flag: Any) -> None:
    """One Tune trial: the job in the process that this actor keeps, its news as Tune's reports."""
    from ray import tune

    job = Job(**config["job"])
    desk = _desk(plan)
    desk.begin(job, _checkpoint(config))
    asked = time.monotonic()
    while True:
        for event in desk.poll(POLL_S):
            content = desk.new_checkpoint()
            if content is not None:
                _report({"progress": None}, content)
            if event.kind == PROGRESS:
                tune.report({"progress": json.dumps(event.result), "done": False})
                continue
            if event.kind == DIED:
                raise RuntimeError(event.reason)
            logs = {name: content.decode(errors="replace") for name, content in desk.logs_so_far().items()}
            end = {"kind": event.kind, "result": event.result, "reason": event.reason, "logs": logs}
            tune.report({"end": json.dumps(end), "done": True})
            return
        if time.monotonic() - asked > ASK_STOP_S:
            asked = time.monotonic()
            if _asked_to_stop(flag):
                desk.stop()


def _asked_to_stop(flag: Any) -> bool:
    import ray

    with contextlib.suppress(Exception):
        return bool(ray.get(flag.is_set.remote(), timeout=5.0))
    return False


def _report(metrics: dict[str, Any], content: bytes) -> None:
    from ray import tune

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / STATE).write_bytes(content)
        tune.report(metrics | {"done": False}, checkpoint=tune.Checkpoint.from_directory(folder))


def _checkpoint(config: dict[str, Any]) -> bytes | None:
    """Where Tune has one, its checkpoint; else what the study gave; none where it cannot be read: the job begins anew."""
    from ray import tune

    kept = tune.get_checkpoint()
    with contextlib.suppress(OSError):
        if kept is not None:
            with kept.as_directory() as folder:
                return (Path(folder) / STATE).read_bytes()
        if config["given"]:
            return Path(config["given"]).read_bytes()
    return None


_KEPT: list[Desk] = []
"""The desk of this process, kept from one trial to the next: Tune reuses its actors."""


def _desk(plan: Plan) -> Desk:
    if not _KEPT:
        _KEPT.append(Desk(plan))
    return _KEPT[0]
