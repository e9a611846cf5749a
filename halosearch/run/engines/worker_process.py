"""The process of a local worker: it evaluates what comes through a pipe, one row after another, until the pipe closes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from halosearch.errors import HalosearchError
from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.gpus import show_only
from halosearch.run.protocol import (
    BROKEN,
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
START_LOG = "workers.log"
LAST_WORDS = "last words"
"""Why a process ends by itself, told before it does."""
BROKEN_EXIT = 75


@dataclass(frozen=True, slots=True)
class Where:
    """Where a process runs: logs of rows, the driver's process, and its GPU as CUDA_VISIBLE_DEVICES names it (none: as here)."""

    logs: Path
    driver: int
    gpu: str = ""


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


def serve(pipe: Connection, make: Callable[[Any], Evaluate], argument: Any, stop: Any, where: Where) -> None:
    """Evaluate rows until the pipe closes. Signals of the terminal are the driver's business."""
    if where.gpu:
        show_only(where.gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=end_with_driver, args=(where.driver,), daemon=True).start()
    write_to(where.logs / START_LOG)
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
        write_to(where.logs / f"{row.key}.log")
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
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def end_with_driver(driver: int, end: Callable[[int], Any] = os._exit) -> None:
    """End this process, by `end` with exit code 1, as soon as its parent is another one than `driver`."""
    while os.getppid() == driver:
        time.sleep(0.25)
    end(1)
