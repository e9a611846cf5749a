"""One evaluating process on any machine, with a folder of its own: jobs come with a checkpoint, checkpoints and logs go out."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil

from halosearch.files import write_bytes
from halosearch.run.engines.local import LocalWorkers
from halosearch.run.engines.ray_client import Plan
from halosearch.run.jobs import Event, Job

PREFIX = "halosearch-desk-"


def _sweep() -> None:
    """Remove what killed workers have left on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


class Desk:
    """Runs one job at a time; used by the workers of every engine that crosses machines."""

    def __init__(self, plan: Plan) -> None:
        """Make the folder; the process starts with its first job."""
        if not plan.cluster.gpus:  # Ray leaves every GPU visible to those who asked for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        _sweep()
        self._own = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        shared = Path(tempfile.gettempdir()) / f"halosearch-shared-{os.getuid()}" / plan.cluster.namespace
        argument = plan.at_home(plan.argument, self._own, shared)
        self._logs, self._checkpoints, self._key, self._shipped = self._own / "logs", self._own / "checkpoints", "", 0
        self._workers = LocalWorkers(1, plan.make_evaluate, argument, self._logs, plan.limits)

    @property
    def _path(self) -> Path:
        return self._checkpoints / f"{self._key}.pt"

    def begin(self, job: Job, content: bytes | None) -> None:
        """Start a job, from a checkpoint."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._key, self._shipped = job.key, 0
        if content is not None:
            write_bytes(self._path, content)
            self._shipped = self._path.stat().st_mtime_ns
        self._workers.submit(job)

    def poll(self, timeout_s: float, also: list[Any] | None = None) -> list[Event]:
        """News of the job."""
        return self._workers.poll(timeout_s, also)

    def stop(self) -> None:
        """Let the job write its checkpoint and stop."""
        self._workers.stop()

    def new_checkpoint(self) -> bytes | None:
        """The checkpoint, if it was written since it was last asked for."""
        with contextlib.suppress(FileNotFoundError):
            written = self._path.stat().st_mtime_ns
            if written != self._shipped:
                self._shipped = written
                return self._path.read_bytes()
        return None

    @property
    def outgrown(self) -> bool:
        """Whether the job has done away with a checkpoint that was handed out."""
        return self._shipped > 0 and not self._path.exists()

    def logs_so_far(self) -> dict[str, bytes]:
        """What was printed, by job; it is forgotten here."""
        found = {}
        for log in sorted(self._logs.glob("*.log")):
            content = log.read_bytes()
            if content:
                found[log.stem] = content
                os.truncate(log, 0)
        return found

    def close(self) -> None:
        """End the process, and leave nothing behind."""
        self._workers.close()
        shutil.rmtree(self._own, ignore_errors=True)
