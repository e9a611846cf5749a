"""Local workers: one process each, spawned, fed through a pipe. A worker that dies takes nothing with it but its job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from halosearch.search.jobs import (
    BROKEN,
    DIED,
    DONE,
    PROGRESS,
    STOPPED,
    Evaluate,
    Event,
    Job,
    MachineFaultError,
    StoppedError,
)

REPORT_EVERY_S = 0.5
END_GRACE_S = 1.0


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


class LocalWorkers:
    """Processes that each run one job at a time.

    Args:
        capacity: how many.
        make_evaluate: builds the evaluation inside the worker (must be importable: it is sent by name).
        argument: passed to `make_evaluate`.
        log: file that the workers' own output goes to; they never write to the terminal.
    """

    def __init__(self, capacity: int, make_evaluate: Callable[[Any], Evaluate], argument: Any, log: Path) -> None:
        """Processes start with their first job."""
        self.capacity, self._make, self._argument, self._log = capacity, make_evaluate, argument, log
        self._context = multiprocessing.get_context("spawn")
        # A plain byte, no Event: a worker killed inside an Event's lock would block every other worker.
        self._stop = self._context.RawValue("b", 0)
        self._workers: list[_Worker] = []

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker, starting one if need be."""
        for worker in [worker for worker in self._workers if worker.job is None]:
            try:
                worker.pipe.send(job)
            except OSError:  # it died while idle
                self._workers.remove(worker)
            else:
                worker.job = job
                return
        started = self._start()
        started.job = job
        started.pipe.send(job)

    def poll(self, timeout_s: float) -> list[Event]:
        """News of all workers; a dead worker's job is reported as died."""
        waitables: list[Any] = [worker.pipe for worker in self._workers] + [
            worker.process.sentinel for worker in self._workers
        ]
        if not waitables:
            time.sleep(timeout_s)
            return []
        wait(waitables, timeout_s)
        return [event for worker in list(self._workers) for event in self._news(worker)]

    def _news(self, worker: _Worker) -> list[Event]:
        events = []
        try:
            while worker.pipe.poll():
                event: Event = worker.pipe.recv()
                events.append(event)
                if event.kind != PROGRESS:
                    worker.job = None
        except (EOFError, OSError):
            worker.process.join(END_GRACE_S)
        if not worker.process.is_alive():
            self._workers.remove(worker)
            if worker.job is not None:
                events.append(Event(DIED, worker.job, reason=_cause(worker.process.exitcode)))
        return events

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(theirs, self._make, self._argument, self._stop, str(self._log), os.getpid()),
            daemon=True,
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        """Ask all jobs to stop at their next step."""
        self._stop.value = 1

    def close(self) -> None:
        """End every process at once; its checkpoints are whole."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(END_GRACE_S)
            worker.pipe.close()
        self._workers.clear()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"worker was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"worker ended with exit code {exit_code}"


@dataclass(slots=True)
class _PipeWorld:
    """The world of a job in a worker process: news goes through the pipe, at most twice a second."""

    pipe: Connection
    job: Job
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
            self.pipe.send(Event(PROGRESS, self.job, {"images": images, "total": total, "loss": loss}))


def _serve(pipe: Connection, make: Callable[[Any], Evaluate], argument: Any, stop: Any, log: str, driver: int) -> None:
    """Run jobs until the pipe closes. Signals of the terminal are the driver's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, args=(driver,), daemon=True).start()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    evaluate = None
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            evaluate = evaluate or make(argument)
            event = Event(DONE, job, evaluate(job, _PipeWorld(pipe, job, stop)))
        except StoppedError:
            event = Event(STOPPED, job)
        except MachineFaultError as error:
            event = Event(BROKEN, job, reason=str(error))
        except Exception as error:  # noqa: BLE001  # whatever a candidate raises is a row with its reason, not a crash
            import traceback

            traceback.print_exc()
            event = Event(DONE, job, {"state": "failed", "reason": f"{type(error).__name__}: {error}"})
        pipe.send(event)


def _end_with_driver(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(0.25)
    os._exit(1)
