"""Local workers: one process each, spawned, fed through a pipe. A worker that dies takes nothing with it but its row.

A row that runs too long or needs too much memory is ended with its process. All other engines run their evaluations in these, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.limits import Limits, is_stopped
from halosearch.run.engines.worker_process import LAST_WORDS, START_LOG, Where, serve
from halosearch.run.protocol import (
    BROKEN,
    DIED,
    DONE,
    PROGRESS,
    READY,
    Evaluate,
    Event,
)

END_GRACE_S = 1.0
LOOK_EVERY_S = 0.2
"""How often running evaluations are held against their limits."""
SUSPENDED_S = 30.0
"""Nobody looked for so long: this process was suspended with the others (SIGSTOP, a laptop's lid), or busy. That is no work of theirs."""
FALSE_STARTS = 3
KILLED_STARTS = 10
"""Processes in a row that ended, or were killed, before they came to their first row: then none will."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    row: Evaluation | None = None
    worked: float = 0.0
    ready: bool = False
    gpu: str = ""
    last_words: str = ""

    def give(self, row: Evaluation) -> None:
        """Send a row; raises OSError where the process is gone."""
        self.pipe.send(row)
        self.row, self.worked = row, 0.0


class LocalWorkers:
    """Processes that each run one row at a time.

    Args:
        capacity: how many.
        make_evaluate: builds the evaluation inside the worker (must be importable: it is sent by name).
        argument: passed to `make_evaluate`.
        logs: folder that the workers' own output goes to, a file per row; they never write to the terminal.
        limits: of every row.
        gpus: what CUDA_VISIBLE_DEVICES says in the processes, shared out evenly; none: as it is here.
    """

    def __init__(
        self,
        capacity: int,
        make_evaluate: Callable[[Any], Evaluate],
        argument: Any,
        logs: Path,
        limits: Limits | None = None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        """Processes start with their first row."""
        self._capacity, self._make, self._argument, self._logs = capacity, make_evaluate, argument, logs
        self._gpus = gpus
        self._limits, self._looked, self._false_starts = limits or Limits(), 0.0, 0
        self._context = multiprocessing.get_context("spawn")
        # A plain byte, no Event: a worker killed inside an Event's lock would block every other worker.
        self._stop = self._context.RawValue("b", 0)
        self._workers: list[_Worker] = []

    @property
    def capacity(self) -> int:
        """How many processes."""
        return self._capacity

    def submit(self, row: Evaluation) -> None:
        """Give a row to an idle worker, starting one if need be. An earlier `stop` is over."""
        self._stop.value = 0
        if all(worker.row is None for worker in self._workers):
            self._looked = time.monotonic()  # nobody had to look while nobody worked
        for worker in [worker for worker in self._workers if worker.row is None]:
            try:
                worker.give(row)
            except OSError:  # it died while idle
                self._workers.remove(worker)
            else:
                return
        self._start().give(row)

    def poll(self, timeout_s: float, also: list[Any] | None = None) -> list[Event]:
        """News of all workers; a dead worker's row is reported as died. `also`: other things to wait for."""
        waitables: list[Any] = [worker.pipe for worker in self._workers] + [
            worker.process.sentinel for worker in self._workers
        ]
        limited = self._limits != Limits() and any(worker.row for worker in self._workers)
        wait(waitables + (also or []), min(timeout_s, LOOK_EVERY_S) if limited else timeout_s)
        events = [event for worker in list(self._workers) for event in self._news(worker)]
        return events + (self._hold_to_limits() if limited else [])

    def _news(self, worker: _Worker) -> list[Event]:
        events = []
        try:
            while worker.pipe.poll():
                event: Event = worker.pipe.recv()
                if event.kind == READY:
                    worker.ready, self._false_starts, worker.worked = True, 0, 0.0
                    continue
                if event.kind == LAST_WORDS:
                    worker.last_words = event.reason
                    continue
                events.append(event)
                if event.kind != PROGRESS:
                    worker.row = None
        except (EOFError, OSError):
            worker.process.join(END_GRACE_S)
        if not worker.process.is_alive():
            self._workers.remove(worker)
            if worker.row is not None:
                events.append(self._death(worker, worker.row))
        return events

    def _death(self, worker: _Worker, row: Evaluation) -> Event:
        """A process that never came to its first row says nothing about the row; when several do, none will."""
        cause = worker.last_words or _cause(worker.process.exitcode)
        if worker.ready:
            return Event(DIED, row, reason=cause)
        self._false_starts += 1
        killed = (worker.process.exitcode or 0) < 0
        if self._false_starts >= (KILLED_STARTS if killed else FALSE_STARTS):
            return Event(
                BROKEN, row, reason=f"workers cannot start ({cause}); {START_LOG} among the study's logs says why"
            )
        return Event(DIED, row, reason=cause, blameless=True)

    def _hold_to_limits(self) -> list[Event]:
        """End the evaluations that take more than they may, with their processes."""
        now = time.monotonic()
        since, events = now - self._looked, list[Event]()
        if since < LOOK_EVERY_S:
            return events
        self._looked = now
        for worker in list(self._workers):
            if worker.row is None or not worker.ready or worker.pipe.poll():
                continue
            if since < SUSPENDED_S and not is_stopped(worker.process.pid):
                worker.worked += since
            result = self._limits.excess(worker.process.pid, worker.worked)
            if result:
                self._workers.remove(worker)
                _end(worker)
                events.append(Event(DONE, worker.row, result))
        return events

    def _start(self) -> _Worker:
        busy = [worker.gpu for worker in self._workers]
        gpu = min(self._gpus, key=busy.count, default="")
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(theirs, self._make, self._argument, self._stop, Where(self._logs, os.getpid(), gpu)),
            daemon=True,
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours, gpu=gpu)
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        """Ask all evaluations to stop at their next step."""
        self._stop.value = 1

    def close(self) -> None:
        """End every process at once; its checkpoints are whole."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            _end(worker)
        self._workers.clear()


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join(END_GRACE_S)
    worker.pipe.close()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        killed = f"worker was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
        return killed + (", which is what happens where memory runs out" if -exit_code == signal.SIGKILL else "")
    return f"worker ended with exit code {exit_code}"
