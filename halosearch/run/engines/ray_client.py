"""Workers that another process reaches for us: Ray lives in a process of its own, so that whatever it does, the study goes on.

Ray ends its driver when the cluster goes away, waits for ever on a dead head, and takes over signals. All of that happens to the
process that talks to it. Results, checkpoints and logs come back through a pipe; what was in hand when it died is evaluated again,
from its checkpoint.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import psutil

from halosearch.errors import EnvironmentFault
from halosearch.files import write_bytes
from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.limits import Limits
from halosearch.run.engines.worker_process import end_with_driver, write_to
from halosearch.run.protocol import DIED, PROGRESS, Evaluate, Event

RAY_LOG = "ray.log"
END_GRACE_S = 20.0
SILENT_S = 180.0
"""A connection that has said nothing for this long after its start is stuck in Ray, and built again."""
AGAIN_AFTER_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Waits before a connection that broke is built again; after the last one the study stops. News from a worker starts anew."""

SUBMIT, STOP, CLOSE = "submit", "stop", "close"
"""What the process is told: (SUBMIT, row, checkpoint or None), (STOP,), (CLOSE,)."""
NEWS, CHECKPOINT, LOG, CAPACITY, NOTE, FAULT = "news", "checkpoint", "log", "capacity", "note", "fault"
"""What it says: (NEWS, event), (CHECKPOINT, key, bytes or None), (LOG, key, bytes), (CAPACITY, n), (NOTE, text),
(FAULT, sentence, hint, whether waiting cannot help)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where evaluations run and what each takes.

    Args:
        address: of a running cluster, None to start one on this machine.
        name: of this study, on machines that workers of several studies share.
        cpus, gpus: of one worker; fractions of a GPU are shared, its memory is not divided.
    """

    address: str | None
    name: str
    cpus: float = 1
    gpus: float = 0


@dataclass(frozen=True, slots=True)
class WorkPlan:
    """What the engine needs to evaluate; plain values and functions known by name.

    `folder`: the study's own, for what an engine has to keep. `at_home` turns `argument` into that of a worker on any machine, given
    its own folder and one that its machine shares.
    """

    size: int
    make_evaluate: Callable[[Any], Evaluate]
    argument: Any
    at_home: Callable[[Any, Path, Path], Any]
    limits: Limits
    cluster: Cluster
    folder: Path


Serve = Callable[[Connection, WorkPlan], None]


@dataclass(slots=True)
class RayClient:
    """Workers on Ray.

    Args:
        serve: what the process that talks to Ray does; it must be importable.
        plan: passed to it.
        checkpoints, logs: folders of the study that what workers send is written to.
        message: told what the reader should know.
    """

    serve: Serve
    plan: WorkPlan
    checkpoints: Path
    logs: Path
    message: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _process: BaseProcess | None = None
    _pipe: Connection | None = None
    _ready: int = 0
    _rows: dict[int, Evaluation] = field(default_factory=dict)
    _stopping: bool = False
    _falls: int = 0
    _heard: bool = False
    _begun: float = 0.0
    _been_up: bool = False
    _fault: tuple[str, str] | None = None
    _again_at: float = 0.0

    @property
    def capacity(self) -> int:
        """Workers that are there now; it changes as machines join and leave."""
        return min(self.plan.size, self._ready)

    def submit(self, row: Evaluation) -> None:
        """Start an evaluation, from its checkpoint where there is one."""
        self._rows[row.id] = row
        checkpoint = self.checkpoints / f"{row.key}.pt"
        content = checkpoint.read_bytes() if checkpoint.exists() else None
        self._say(SUBMIT, row, content)

    def poll(self, timeout_s: float) -> list[Event]:
        """News since the last call.

        Raises:
            EnvironmentFault: the cluster cannot be reached, or lets nobody in.
        """
        if self._process is None:
            self._build_when_due(timeout_s)
        if self._pipe is None or self._process is None:
            return []
        wait([self._pipe, self._process.sentinel], timeout_s)
        events: list[Event] = []
        try:
            while self._pipe.poll():
                events += self._hear(self._pipe.recv())
        except (EOFError, OSError):
            self._process.join(1.0)
        if not self._heard and self.clock() - self._begun > SILENT_S:
            self._process.kill()
            self._process.join(1.0)
        if not self._process.is_alive():
            events += self._fallen()
        return events

    def _build_when_due(self, timeout_s: float) -> None:
        if self.clock() < self._again_at:
            time.sleep(min(timeout_s, self._again_at - self.clock()))
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_talk_to_ray, args=(theirs, self.serve, self.plan, self.logs / RAY_LOG, os.getpid())
        )
        self._process.start()
        self._heard, self._begun = False, self.clock()
        theirs.close()
        for row in list(self._rows.values()):
            self.submit(row)

    def _say(self, *message: Any) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # it has ended: noticed at the next poll
                self._pipe.send(message)

    def _hear(self, message: tuple[Any, ...]) -> list[Event]:
        kind, *rest = message
        self._heard = True
        if kind == NEWS:
            return self._news(*rest)
        if kind == CHECKPOINT:
            self._keep(*rest)
        elif kind == LOG:
            key, content = rest
            self.logs.mkdir(parents=True, exist_ok=True)
            with (self.logs / f"{key}.log").open("ab") as file:
                file.write(content)
        elif kind == CAPACITY:
            self._ready = rest[0]
            self._been_up = self._been_up or self._ready > 0
        elif kind == NOTE:
            self.message(rest[0])
        elif kind == FAULT:
            self._fault = (str(rest[0]), str(rest[1]))
            if rest[2] or not self._been_up:  # a wrong address is said at once; a head that was there may come back
                raise EnvironmentFault(*self._fault)
        return []

    def _news(self, event: Event) -> list[Event]:
        """An event of a row that is still awaited; a second result of the same row is forgotten."""
        self._falls = 0
        if event.row.id not in self._rows:
            return []
        if event.kind != PROGRESS:
            del self._rows[event.row.id]
        return [event]

    def _keep(self, key: str, content: bytes | None) -> None:
        path = self.checkpoints / f"{key}.pt"
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, content)

    def _fallen(self) -> list[Event]:
        """The process has ended: build another one soon. Its rows go back to the study, which asks for them again."""
        assert self._process is not None
        assert self._pipe is not None
        cause = f"exit code {self._process.exitcode}"
        self._pipe.close()
        self._process, self._pipe, self._ready = None, None, 0
        if self._falls >= len(AGAIN_AFTER_S) and not self._stopping:
            broke = f"the connection to Ray broke {self._falls} times in a row"
            raise EnvironmentFault(
                f"{broke}: {self._fault[0]}" if self._fault else f"{broke} ({cause}); {self.logs / RAY_LOG} says why",
                "run the same command again once the cluster is back, or without --ray; nothing recorded is lost",
            )
        if not self._stopping:
            self._again_at = self.clock() + AGAIN_AFTER_S[self._falls]
            self._falls += 1
            self.message(f"the connection to Ray broke ({cause}); connecting again")
        lost, self._rows = list(self._rows.values()), {}
        return [Event(DIED, row, reason="the connection to Ray broke", blameless=True) for row in lost]

    def stop(self) -> None:
        """Ask all evaluations to stop at their next step."""
        self._stopping = True
        self._say(STOP)

    def close(self) -> None:
        """End the workers, and every process that was started for them."""
        if self._process is None:
            return
        started = _descendants(self._process.pid)
        self._say(CLOSE)
        self._process.join(END_GRACE_S)
        self._process.kill()
        self._process.join(1.0)
        _, alive = psutil.wait_procs(started, timeout=3.0)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=3.0)
        if self._pipe is not None:
            self._pipe.close()
        self._process, self._pipe = None, None


def _descendants(pid: int | None) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def abandon(code: int) -> NoReturn:
    """End this process and all that it started."""
    for process in _descendants(os.getpid()):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(code)


def _talk_to_ray(pipe: Connection, serve: Serve, plan: WorkPlan, log: Path, driver: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=end_with_driver, args=(driver, abandon), daemon=True).start()
    write_to(log)
    serve(pipe, plan)
