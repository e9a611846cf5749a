"""What passes between the study and Ray Tune: jobs as they come in, and jobs and ends as Tune writes them down."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from halosearch.run.engines.cluster import GONE
from halosearch.run.engines.ray_client import CHECKPOINT, CLOSE, LOG, NEWS, STOP, SUBMIT, abandon
from halosearch.run.jobs import BROKEN, DONE, PROGRESS, STOPPED, Event, Job

STATE = "state.bin"
MAX_FAILURES = 2
"""Tries beyond the first that Tune gives a trial whose worker died."""
STOP_GRACE_S = 30.0
FIRST_JOBS_S = 30.0


class Inbox:
    """Jobs that the study asks for, as they come in."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.jobs = pipe, queue.SimpleQueue[tuple[Job, bytes | None]]()
        self.flag: Any = None
        self.wanted: dict[str, Job] = {}
        """Jobs that were asked for and have not ended, by identity."""
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, *message: Any) -> None:
        """To the driver; without one nothing more is to be done."""
        try:
            self.pipe.send(message)
        except OSError:
            abandon(GONE)

    def give_up(self) -> None:
        """Answer for the jobs that never began, or do not answer, that they are stopped."""
        for name in list(self.wanted):
            self.say(NEWS, None, Event(STOPPED, self.wanted.pop(name)))
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


def identity(job: Job) -> str:
    """A job by name, each rung for itself."""
    return f"{job.key}:{job.rung}"


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
