"""One worker of a cluster: an actor that evaluates in a process of its own. It ends with the driver, whose actor it is."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from typing import Any

from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.ray_client import CHECKPOINT, NEWS, WorkPlan
from halosearch.run.engines.worker_sandbox import WorkerSandbox
from halosearch.run.protocol import PROGRESS

PUMP_S = 0.5
END_GRACE_S = 1.0


class RayWorker:
    """Evaluates one row at a time. Items that it hands out are numbered from 1; an item is kept until a later call has seen it."""

    def __init__(self, plan: WorkPlan) -> None:
        """Begin without a row."""
        self._sandbox = WorkerSandbox(plan)
        self._items: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._count = 0
        self._inbox: deque[tuple[Evaluation, bytes | None] | None] = deque()
        self._changed, self._leaving, self._left = threading.Condition(), False, threading.Event()
        self._wake, self._bell = multiprocessing.Pipe(duplex=False)
        threading.Thread(target=self._pump, args=(os.getppid(),), daemon=True).start()

    def ready(self) -> bool:
        """Answers once the actor is there."""
        return True

    def begin(self, row: Evaluation, checkpoint: bytes | None) -> None:
        """Evaluate a row, from a checkpoint."""
        with self._changed:
            self._items.clear()
            self._count = 0
        self._tell((row, checkpoint))

    def stop(self) -> None:
        """Let the evaluation write its checkpoint and stop."""
        self._tell(None)

    def _tell(self, what: tuple[Evaluation, bytes | None] | None) -> None:
        self._inbox.append(what)
        self._bell.send_bytes(b"!")

    def news(self, seen: int, wait_s: float) -> list[tuple[int, tuple[Any, ...]]]:
        """Items numbered above `seen`, waiting up to `wait_s` for the first; the others are forgotten."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > seen, wait_s)
            while self._items and self._items[0][0] <= seen:
                self._items.popleft()
            return list(self._items)

    def leave(self) -> None:
        """End the evaluating process, and clean up."""
        self._leaving = True
        self._bell.send_bytes(b"!")
        self._left.wait(5.0)

    def _pump(self, manager: int) -> None:
        """Carry rows in and news out until told to leave, or the node's manager is gone."""
        try:
            while os.getppid() == manager and not self._leaving:
                self._take_in()
                for item in self._sandbox.poll(PUMP_S, also=[self._wake]):
                    self._append(item)
        finally:
            self._sandbox.close()
            self._left.set()
            time.sleep(END_GRACE_S)  # whoever told it to leave hears that it has
            os._exit(1)

    def _take_in(self) -> None:
        while self._wake.poll():
            self._wake.recv_bytes()
        while self._inbox:
            what = self._inbox.popleft()
            if what is None:
                self._sandbox.stop()
            else:
                self._sandbox.begin(*what)

    def _append(self, item: tuple[Any, ...]) -> None:
        """Number an item; of progress and checkpoints only the newest is worth keeping."""
        passing = item[0] == CHECKPOINT or (item[0] == NEWS and item[1].kind == PROGRESS)
        with self._changed:
            if passing:
                same = [each for each in self._items if each[1][0] == item[0] and _is_passing(each[1])]
                for each in same:
                    self._items.remove(each)
            self._count += 1
            self._items.append((self._count, item))
            self._changed.notify_all()


def _is_passing(item: tuple[Any, ...]) -> bool:
    return bool(item[0] == CHECKPOINT or item[1].kind == PROGRESS)
