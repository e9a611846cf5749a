"""One evaluating process on any machine, with a folder of its own: rows come with a checkpoint; news, checkpoints and logs go out."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from halosearch.files import write_bytes
from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.local import LocalWorkers
from halosearch.run.engines.ray_client import CHECKPOINT, LOG, NEWS, WorkPlan
from halosearch.run.protocol import DONE, PROGRESS

PREFIX = "halosearch-worker-"


def _sweep() -> None:
    """Remove what killed workers have left on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


class WorkerSandbox:
    """Evaluates one row at a time; used by the workers of every engine that crosses machines."""

    def __init__(self, plan: WorkPlan) -> None:
        """Make the folder; the process starts with its first row."""
        if not plan.cluster.gpus:  # Ray leaves every GPU visible to those who asked for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        _sweep()
        self._own = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        shared = Path(tempfile.gettempdir()) / f"halosearch-shared-{os.getuid()}" / plan.cluster.name
        argument = plan.at_home(plan.argument, self._own, shared)
        self._logs, self._checkpoints, self._key, self._shipped = self._own / "logs", self._own / "checkpoints", "", 0
        self._workers = LocalWorkers(1, plan.make_evaluate, argument, self._logs, plan.limits)

    @property
    def _path(self) -> Path:
        return self._checkpoints / f"{self._key}.pt"

    def begin(self, row: Evaluation, content: bytes | None) -> None:
        """Start an evaluation, from a checkpoint."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._key, self._shipped = row.key, 0
        if content is not None:
            write_bytes(self._path, content)
            self._shipped = self._path.stat().st_mtime_ns
        self._workers.submit(row)

    def poll(self, timeout_s: float, also: list[Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """What the driver should hear (see `ray_client`); an end comes after the checkpoint and the logs that belong to it."""
        events = self._workers.poll(timeout_s, also)
        yield from self._new_checkpoint()
        for event in events:
            if event.kind != PROGRESS:
                if event.kind == DONE and self._shipped and not self._path.exists():
                    yield CHECKPOINT, self._key, None
                yield from self._logs_so_far()
            yield NEWS, event

    def stop(self) -> None:
        """Let the evaluation write its checkpoint and stop."""
        self._workers.stop()

    def _new_checkpoint(self) -> Iterator[tuple[Any, ...]]:
        """The checkpoint, if it was written since it was last handed out."""
        with contextlib.suppress(FileNotFoundError):
            written = self._path.stat().st_mtime_ns
            if written != self._shipped:
                self._shipped = written
                yield CHECKPOINT, self._key, self._path.read_bytes()

    def _logs_so_far(self) -> Iterator[tuple[Any, ...]]:
        """What was printed; it is forgotten here."""
        for log in sorted(self._logs.glob("*.log")):
            content = log.read_bytes()
            if content:
                yield LOG, log.stem, content
                os.truncate(log, 0)

    def close(self) -> None:
        """End the process, and leave nothing behind."""
        self._workers.close()
        shutil.rmtree(self._own, ignore_errors=True)
