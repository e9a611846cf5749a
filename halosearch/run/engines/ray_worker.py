"""One worker of a cluster: an actor that runs jobs in a process of its own and keeps what came out until it is recorded.

An actor outlives its driver: it finishes its job and holds the result for a driver that takes over. It ends by itself when its
node's manager is gone, or when nobody has asked for long.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from typing import Any

from halosearch.run.engines.ray_client import CHECKPOINT, LOG, NEWS, Plan
from halosearch.run.engines.worker_sandbox import Desk
from halosearch.run.jobs import DONE, PROGRESS, Event, Job

HOLD_S = 3600.0
"""How long a worker without a driver keeps its place after its job has ended."""
PUMP_S = 0.5
END_GRACE_S = 1.0


class Seat:
    """Runs one job at a time for whoever holds its handle.

    Items that it hands out are numbered from 1; an item is kept until a later call says that it was recorded.
    """

    def __init__(self, plan: Plan) -> None:
        """Begin without a job."""
        self._desk = Desk(plan)
        self._items: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._count = 0
        self._job: Job | None = None
        self._asked = time.monotonic()
        self._ended: float = self._asked
        """When the last job ended; 0 while one runs."""
        self._inbox: deque[tuple[str, Job | None, bytes | None]] = deque()
        self._changed, self._leaving, self._left = threading.Condition(), False, threading.Event()
        self._wake, self._bell = multiprocessing.Pipe(duplex=False)
        threading.Thread(target=self._pump, args=(os.getppid(),), daemon=True).start()

    def held(self) -> tuple[Job | None, bool]:
        """The last job given, and whether it still runs or has an end that was not recorded yet."""
        with self._changed:
            ended = any(item[0] == NEWS and item[1].kind != PROGRESS for _, item in self._items)
            return self._job, self._ended == 0.0 or ended

    def begin(self, job: Job, checkpoint: bytes | None) -> None:
        """Run a job, from a checkpoint."""
        with self._changed:
            self._job, self._ended = job, 0.0
        self._tell("begin", job, checkpoint)

    def stop(self) -> None:
        """Let the job write its checkpoint and stop."""
        self._tell("stop", None, None)

    def _tell(self, what: str, job: Job | None, content: bytes | None) -> None:
        self._inbox.append((what, job, content))
        self._bell.send_bytes(b"!")

    def news(self, after: int, recorded: int, wait_s: float) -> list[tuple[int, tuple[Any, ...]]]:
        """Items numbered above `after`, waiting up to `wait_s` for the first; items up to `recorded` are forgotten."""
        with self._changed:
            self._asked = time.monotonic()
            while self._items and self._items[0][0] <= recorded:
                self._items.popleft()
            self._changed.wait_for(lambda: self._count > after, wait_s)
            return [item for item in self._items if item[0] > after]

    def leave(self) -> None:
        """End the evaluating process, and clean up."""
        self._leaving = True
        self._bell.send_bytes(b"!")
        self._left.wait(5.0)

    def _pump(self, manager: int) -> None:
        """Carry jobs in and news out, for as long as somebody may want them."""
        try:
            while os.getppid() == manager and not self._leaving and not self._forgotten():
                self._take_in()
                for event in self._desk.poll(PUMP_S, also=[self._wake]):
                    self._put_out(event)
                self._ship_checkpoint()
        finally:
            self._desk.close()
            self._left.set()
            time.sleep(END_GRACE_S)  # whoever told it to leave hears that it has
            os._exit(1)

    def _forgotten(self) -> bool:
        last: float = max(self._asked, self._ended)
        return self._ended > 0 and time.monotonic() - last > HOLD_S

    def _take_in(self) -> None:
        while self._wake.poll():
            self._wake.recv_bytes()
        while self._inbox:
            what, job, content = self._inbox.popleft()
            if what == "stop":
                self._desk.stop()
            elif job is not None:
                self._desk.begin(job, content)

    def _put_out(self, event: Event) -> None:
        if event.kind != PROGRESS:
            self._ship_checkpoint()
            if event.kind == DONE and self._desk.outgrown:
                self._append((CHECKPOINT, event.job.key, None))
            for name, content in self._desk.logs_so_far().items():
                self._append((LOG, name, content))
            with self._changed:
                self._ended = time.monotonic()
        self._append((NEWS, event))

    def _ship_checkpoint(self) -> None:
        content = self._desk.new_checkpoint()
        if content is not None and self._job is not None:
            self._append((CHECKPOINT, self._job.key, content))

    def _append(self, item: tuple[Any, ...]) -> None:
        """Number an item; of progress and checkpoints only the newest is worth keeping."""
        passing = item[0] == CHECKPOINT or (item[0] == NEWS and item[1].kind == PROGRESS)
        with self._changed:
            if passing:
                self._items = deque(kept for kept in self._items if not _same(kept[1], item))
            self._count += 1
            self._items.append((self._count, item))
            self._changed.notify_all()


def _same(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    if old[0] != new[0]:
        return False
    return bool(old[1] == new[1] if old[0] == CHECKPOINT else old[1].kind == new[1].kind)
