"""Local workers: one process each, spawned, fed through a pipe. A worker that dies takes nothing with it but its row.

A row that runs too long or needs too much memory is ended with its process. All other engines run their evaluations in these, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from halosearch.errors import HalosearchError
from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.gpus import VISIBLE
from halosearch.run.engines.limits import Limits
from halosearch.run.protocol import (
    BROKEN,
    DIED,
    DONE,
    NOBODY,
    PROGRESS,
    READY,
    STOPPED,
    Evaluate,
    Event,
    MachineFaultError,
    ProcessBrokenError,
    StoppedError,
)

REPORT_EVERY_S = 0.5
END_GRACE_S = 1.0
LOOK_EVERY_S = 0.2
"""How often running evaluations are held against their limits."""
FALSE_STARTS = 3
KILLED_STARTS = 10
"""Processes in a row that ended, or were killed, before they came to their first row: then none will."""
START_LOG = "workers.log"
LAST_WORDS = "last words"
"""Why a process ends by itself, told before it does."""
BROKEN_EXIT = 75


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    row: Evaluation | None = None
    begun: float = 0.0
    ready: bool = False
    gpu: str = ""
    last_words: str = ""

    def give(self, row: Evaluation) -> None:
        """Send a row; raises OSError where the process is gone."""
        self.pipe.send(row)
        self.row, self.begun = row, time.monotonic()


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
                    worker.ready, self._false_starts, worker.begun = True, 0, time.monotonic()
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
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return []
        self._looked = time.monotonic()
        events = []
        for worker in list(self._workers):
            if worker.row is None or not worker.ready or worker.pipe.poll():
                continue
            result = self._limits.excess(worker.process.pid, time.monotonic() - worker.begun)
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
            target=_serve,
            args=(theirs, self._make, self._argument, self._stop, str(self._logs), os.getpid(), gpu),
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
        return f"worker was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"worker ended with exit code {exit_code}"


@dataclass(slots=True)
class _PipeWorld:
    """The world of a row in a worker process: news goes through the pipe, at most twice a second."""

    pipe: Connection
    row: Evaluation
    stop: Any
    last: float = 0.0

    def should_stop(self) -> bool:
        """Whether the driver asked."""
        return bool(self.stop.value)

    def report(self, images: int, total: int, loss: float) -> None:
        """Send progress."""
        now = time.monotonic()
        if now - self.last >= REPORT_EVERY_S:
            self.last = now
            self.pipe.send(Event(PROGRESS, self.row, {"images": images, "total": total, "loss": loss}))


def _serve(
    pipe: Connection, make: Callable[[Any], Evaluate], argument: Any, stop: Any, logs: str, driver: int, gpu: str
) -> None:
    """Evaluate rows until the pipe closes. Signals of the terminal are the driver's business."""
    if gpu:
        os.environ[VISIBLE] = gpu  # read when CUDA is first used
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=end_with_driver, args=(driver,), daemon=True).start()
    write_to(Path(logs) / START_LOG)
    evaluate, fault = None, ""
    try:
        evaluate = _made(make, argument)
    except MachineFaultError as error:
        fault = str(error)
    pipe.send(Event(READY, NOBODY))
    while True:
        try:
            row: Evaluation = pipe.recv()
        except (EOFError, OSError):
            return
        write_to(Path(logs) / f"{row.key}.log")
        try:
            if evaluate is None:
                raise MachineFaultError(fault)
            event = Event(DONE, row, evaluate(row, _PipeWorld(pipe, row, stop)))
        except StoppedError:
            event = Event(STOPPED, row)
        except MachineFaultError as error:
            event = Event(BROKEN, row, reason=str(error))
        except ProcessBrokenError as error:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            pipe.send(Event(LAST_WORDS, row, reason=str(error)))
            os._exit(BROKEN_EXIT)
        except Exception as error:  # noqa: BLE001  # whatever a candidate raises is a row with its reason, not a crash
            import traceback

            traceback.print_exc()
            event = Event(DONE, row, {"state": "failed", "reason": f"{type(error).__name__}: {error}"})
        sys.stdout.flush()
        pipe.send(event)


def _made(make: Callable[[Any], Evaluate], argument: Any) -> Evaluate:
    """What keeps every row from running (no data, a missing module) is the machine's fault, not a candidate's."""
    try:
        return make(argument)
    except HalosearchError as error:
        raise MachineFaultError(error.sentence) from error
    except Exception as error:
        import traceback

        traceback.print_exc()
        raise MachineFaultError(f"a worker cannot begin: {type(error).__name__}: {error}") from error


def write_to(path: Path) -> None:
    """Whatever this process prints goes to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def end_with_driver(driver: int, end: Callable[[int], Any] = os._exit) -> None:
    """End this process, by `end` with exit code 1, as soon as its parent is another one than `driver`."""
    while os.getppid() == driver:
        time.sleep(0.25)
    end(1)
