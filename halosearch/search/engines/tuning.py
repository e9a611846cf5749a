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
import queue
import shutil
import socket
import tempfile
import threading
import time
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from halosearch.search.engines.bridge import (
    CAPACITY,
    CHECKPOINT,
    CLOSE,
    FAULT,
    LOG,
    NEWS,
    NOTE,
    STOP,
    SUBMIT,
    Plan,
    abandon,
)
from halosearch.search.engines.cluster import GONE, HEADLESS, NEWS_WAIT_S
from halosearch.search.engines.desk import Desk
from halosearch.search.engines.joining import Refused, connect
from halosearch.search.jobs import BROKEN, DIED, DONE, PROGRESS, STOPPED, Event, Job

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
STATE = "state.bin"
MAX_FAILURES = 2
"""Tries beyond the first that Tune gives a trial whose worker died."""
ASK_STOP_S = 1.0
STOP_GRACE_S = 30.0
FIRST_JOBS_S = 30.0
POLL_S = 0.5


def serve(pipe: Connection, plan: Plan) -> None:
    """Run the bridge until it is told to close."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    inbox = _Inbox(pipe)
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


class _Inbox:
    """Jobs that the study asks for, as they come in."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.jobs = pipe, queue.SimpleQueue[tuple[Job, bytes | None]]()
        self.flag: Any = None
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, *message: Any) -> None:
        """To the driver; without one nothing more is to be done."""
        try:
            self.pipe.send(message)
        except OSError:
            abandon(GONE)

    def give_up(self) -> None:
        """Answer for the jobs that never began, or do not answer, that they are stopped."""
        from halosearch.search.engines import tune_parts

        link = tune_parts.LINK
        for name in list(link.wanted if link is not None else ()):
            link.wanted.discard(name)
            self.say(NEWS, None, Event(STOPPED, link.jobs[name]))
        with contextlib.suppress(queue.Empty):
            while True:
                self.say(NEWS, None, Event(STOPPED, self.jobs.get_nowait()[0]))

    def first_jobs(self) -> list[tuple[Job, bytes | None]]:
        """What the study asks for in one go, once it knows that it can."""
        found: list[tuple[Job, bytes | None]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.jobs.get(timeout=FIRST_JOBS_S if not found else 1.0))
        return found

    def _listen(self) -> None:
        try:
            while True:
                kind, *rest = self.pipe.recv()
                if kind == SUBMIT:
                    self.jobs.put((rest[0], rest[1]))
                elif kind == STOP:
                    if self.flag is not None:
                        self.flag.set.remote()
                    timer = threading.Timer(STOP_GRACE_S, self.give_up)
                    timer.daemon = True
                    timer.start()
                elif kind == CLOSE:
                    import ray

                    ray.shutdown()
                    os._exit(0)
        except (EOFError, OSError):
            abandon(GONE)


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


def identity(job: Job) -> str:
    """A job by name, each rung for itself."""
    return f"{job.key}:{job.rung}"


def _run(inbox: _Inbox, plan: Plan) -> None:
    import ray
    from ray import tune

    from halosearch.search.engines import tune_parts

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


def job_config(job: Job, given: Path | None) -> dict[str, Any]:
    """A job as a Tune configuration."""
    return {"job": asdict(job), "given": str(given) if given else None}


def end_of(job: Job, text: str) -> tuple[list[tuple[Any, ...]], Event]:
    """What a trial's last report says: logs, and the event."""
    end = json.loads(text)
    logs = [(LOG, name, content.encode()) for name, content in end["logs"].items()]
    kind = end["kind"]
    assert kind in (DONE, STOPPED, BROKEN), kind
    return logs, Event(kind, job, end["result"], end["reason"])


def is_result(text: str | None) -> bool:
    """Whether a last report is a result, and not that the job was stopped or its machine at fault."""
    return text is not None and json.loads(text)["kind"] == DONE


def progress_of(job: Job, text: str) -> tuple[Any, ...]:
    """A report on the way."""
    return (NEWS, None, Event(PROGRESS, job, json.loads(text)))


def checkpoint_of(job: Job, path: str) -> tuple[Any, ...] | None:
    """A checkpoint that Tune has kept, for the study's folder."""
    with contextlib.suppress(OSError):
        return (CHECKPOINT, job.key, (Path(path) / STATE).read_bytes())
    return None
