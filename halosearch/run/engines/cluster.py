"""The bridge to a Ray cluster: actors that run jobs (`seat.Seat`), found again by name after a driver or bridge has died."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pickle
import queue
import socket
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from halosearch.run.engines.joining import CONNECT_S, Refused, connect
from halosearch.run.engines.ray_client import (
    CAPACITY,
    CLOSE,
    FAULT,
    NEWS,
    NOTE,
    RECORDED,
    STOP,
    SUBMIT,
    Plan,
    abandon,
)
from halosearch.run.jobs import DIED, PROGRESS, STOPPED, Event, Job

NEWS_WAIT_S = 5.0
UNREACHABLE_S = 30.0
"""A worker that cannot be asked for this long counts as dead."""
HEAD_GONE_S = 30.0
STUCK_S = 120.0
TELL_WAITING_S = 15.0
FALSE_STARTS = 3
GONE, HEADLESS, STUCK = 3, 4, 5
"""Exit codes of a bridge that cannot go on."""


@dataclass(slots=True)
class _Seat:
    """What the bridge knows of a worker."""

    name: str
    actor: Any
    job: Job | None = None
    held: Job | None = None
    seen: int = 0
    recorded: int = 0
    ready: bool = False
    backlog: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)

    @property
    def free(self) -> bool:
        """Whether a new job may go there."""
        return self.ready and self.job is None and self.held is None

    @property
    def ended(self) -> bool:
        """Whether the job held from an earlier driver has come to its end."""
        return any(item[0] == NEWS and item[1].kind != PROGRESS for _, item in self.backlog)


def serve(pipe: Connection, plan: Plan) -> None:
    """Run the bridge until it is told to close."""
    inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    try:
        head = connect(plan)
        pipe.send((CAPACITY, 0))
        asyncio.run(_Bridge(pipe, inbox, plan, head).run())
    except Refused as refused:
        pipe.send((FAULT, refused.sentence, refused.hint, False))
        time.sleep(1.0)
        abandon(GONE)
    except BaseException:  # noqa: BLE001  # whatever it is, the driver builds another bridge
        traceback.print_exc()
        abandon(GONE)


def _listen(pipe: Connection, inbox: queue.SimpleQueue[tuple[Any, ...]]) -> None:
    """Always read, so that the driver never waits for a bridge that waits for Ray. Without a driver, leave everything as it is."""
    try:
        while True:
            inbox.put(pipe.recv())
    except (EOFError, OSError):
        abandon(GONE)


class _Bridge:
    """Jobs in, news out."""

    def __init__(
        self, pipe: Connection, inbox: queue.SimpleQueue[tuple[Any, ...]], plan: Plan, head: tuple[str, int]
    ) -> None:
        self._pipe, self._inbox, self._plan, self._head = pipe, inbox, plan, head
        self._seats: dict[str, _Seat] = {}
        self._waiting: list[tuple[Job, bytes | None]] = []
        self._false_starts = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._alive_at = time.monotonic()
        self._lasting = plan.cluster.address is not None
        self._told = plan.size
        self._unknown: set[str] = set()
        """Workers of an earlier driver that have not said yet what they hold."""
        self._prefix = f"seat-{hashlib.sha256(pickle.dumps(plan)).hexdigest()[:12]}-"

    async def run(self) -> None:
        """Until told to close."""
        self._attach()
        self._fill()
        threading.Thread(target=self._watch, daemon=True).start()
        self._spawn(self._tell_of_waiting())
        loop = asyncio.get_running_loop()
        while True:
            message = await loop.run_in_executor(None, self._next_message)
            self._alive_at = time.monotonic()
            if message is None:
                continue
            kind, *rest = message
            if kind == SUBMIT:
                self._submit(*rest)
            elif kind == RECORDED:
                self._recorded(rest[0])
            elif kind == STOP:
                self._stop()
            elif kind == CLOSE:
                await self._close()
                return

    def _next_message(self) -> tuple[Any, ...] | None:
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=1.0)
        return None

    def _watch(self) -> None:
        """End this process where its loop is stuck in Ray, or the head is gone: the driver builds another one."""
        answered = time.monotonic()
        while True:
            time.sleep(2.0)
            with contextlib.suppress(OSError):
                socket.create_connection(self._head, CONNECT_S).close()
                answered = time.monotonic()
            if time.monotonic() - answered > HEAD_GONE_S:
                abandon(HEADLESS)
            if time.monotonic() - self._alive_at > STUCK_S:
                abandon(STUCK)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """What nobody waits for must not fail unseen: the driver builds another bridge."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            traceback.print_exception(task.exception())
            abandon(GONE)

    def _attach(self) -> None:
        """Take over the workers of an earlier driver of this study; those made with other settings are ended."""
        if not self._lasting:
            return
        import ray

        for name in ray.util.list_named_actors():
            with contextlib.suppress(ValueError):
                actor = ray.get_actor(name)
                if name.startswith(self._prefix):
                    self._unknown.add(name)
                    self._follow(_Seat(name, actor))
                else:
                    ray.kill(actor)

    def _fill(self) -> None:
        """Ask for as many workers as are wanted; those that the cluster has no place for come when it has."""
        while len(self._seats) < self._plan.size:
            self._follow(self._new_seat())

    def _new_seat(self) -> _Seat:
        import ray

        from halosearch.run.engines.ray_worker import Seat

        cluster, memory = self._plan.cluster, self._plan.limits.memory_bytes
        name = f"{self._prefix}{uuid.uuid4().hex[:12]}"
        options: dict[str, Any] = {
            "name": name,
            "num_cpus": cluster.cpus,
            "num_gpus": cluster.gpus,
            "max_restarts": 0,
            "max_concurrency": 4,
            "scheduling_strategy": "SPREAD",
        }
        if self._lasting:
            options |= {"lifetime": "detached"}
        if memory:
            options |= {"memory": memory}
        return _Seat(name, ray.remote(Seat).options(**options).remote(self._plan))

    def _follow(self, seat: _Seat) -> None:
        self._seats[seat.name] = seat
        self._spawn(self._follow_until_death(seat))

    async def _follow_until_death(self, seat: _Seat) -> None:
        try:
            job, busy = await seat.actor.held.remote()
            seat.held = job if busy else None
            seat.ready, self._false_starts = True, 0
            self._unknown.discard(seat.name)
            self._give_what_waits(seat)
            self._seats_changed()
            while True:
                await self._carry(seat)
        except Exception as error:  # noqa: BLE001  # Ray has many words for a worker that is gone
            self._lose(seat, error)

    async def _carry(self, seat: _Seat) -> None:
        """News of a worker to the driver; a worker that cannot be asked for a moment is asked again."""
        import ray.exceptions as trouble

        silent_since = None
        while True:
            try:
                items = await seat.actor.news.remote(seat.seen, seat.recorded, NEWS_WAIT_S)
                break
            except trouble.ActorUnavailableError:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > UNREACHABLE_S:
                    raise
                await asyncio.sleep(1.0)
        for number, item in items:
            seat.seen = max(seat.seen, number)
            if seat.job is None and seat.held is not None:
                seat.backlog.append((number, item))
                self._hand_out()
            else:
                self._pass_on(seat, number, item)

    def _pass_on(self, seat: _Seat, number: int, item: tuple[Any, ...]) -> None:
        if item[0] != NEWS:
            self._say(*item)
            return
        event = item[1]
        if event.kind == PROGRESS:
            self._say(NEWS, None, event)
            return
        self._say(NEWS, (seat.name, number), event)
        if event.job == seat.job:
            seat.job = None
            self._hand_out()

    def _say(self, *message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            abandon(GONE)  # the driver is gone; workers of a lasting cluster go on

    def _seats_changed(self) -> None:
        ready = sum(seat.ready for seat in self._seats.values())
        if not self._unknown:  # else a job could go to a free worker while another one holds its result
            self._say(CAPACITY, ready)
            self._hand_out()

    def _lose(self, seat: _Seat, error: Exception) -> None:
        """A worker is gone: its job died, and another worker is asked for."""
        import ray

        self._seats.pop(seat.name, None)
        self._unknown.discard(seat.name)
        with contextlib.suppress(Exception):
            ray.kill(seat.actor)
        cause = _cause(error)
        if seat.job is not None:
            self._say(NEWS, None, Event(DIED, seat.job, reason=cause))
        if not seat.ready:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                self._say(
                    FAULT,
                    f"workers cannot start on the cluster: {cause}",
                    "the same halosearch must be installed on every node",
                    True,
                )
                return
        self._seats_changed()
        self._fill()

    def _submit(self, job: Job, checkpoint: bytes | None) -> None:
        """Give a job to a free worker; one that has it in hand from an earlier driver goes on with it."""
        self._waiting.append((job, checkpoint))
        for seat in list(self._seats.values()):
            self._give_what_waits(seat)
        self._hand_out()

    def _give_what_waits(self, seat: _Seat) -> None:
        """A job asked for that this worker holds from an earlier driver: it goes on there, or its result is there."""
        found = next((job for job, _ in self._waiting if job == seat.held), None)
        if found is None:
            return
        self._waiting = [(job, checkpoint) for job, checkpoint in self._waiting if job != found]
        seat.job, seat.held = found, None
        backlog, seat.backlog = seat.backlog, []
        self._say(NOTE, f"{found.key} was found again on a worker of the cluster")
        for number, item in backlog:
            self._pass_on(seat, number, item)

    def _hand_out(self) -> None:
        for seat in self._seats.values():
            if not self._waiting:
                return
            if seat.held is not None and seat.ended:  # recorded before the last driver died, or no longer asked for
                seat.held, seat.recorded = None, seat.seen
                seat.backlog.clear()
            if not seat.free:
                continue
            seat.job, checkpoint = self._waiting.pop(0)
            self._spawn(self._begin(seat, seat.job, checkpoint))

    async def _begin(self, seat: _Seat, job: Job, checkpoint: bytes | None) -> None:
        with contextlib.suppress(Exception):  # a dead worker is noticed by those who ask it for news
            await seat.actor.begin.remote(job, checkpoint)

    def _recorded(self, serials: list[tuple[str, int]]) -> None:
        for name, number in serials:
            if name in self._seats:
                self._seats[name].recorded = max(self._seats[name].recorded, number)

    def _stop(self) -> None:
        for job, _ in self._waiting:
            self._say(NEWS, None, Event(STOPPED, job))
        self._waiting.clear()
        for seat in self._seats.values():
            seat.actor.stop.remote()

    async def _tell_of_waiting(self) -> None:
        """Say how many workers are there whenever that has changed for a while."""
        while True:
            await asyncio.sleep(TELL_WAITING_S)
            ready = sum(seat.ready for seat in self._seats.values())
            if ready != self._told:
                self._told = ready
                self._say(NOTE, f"{ready} of {self._plan.size} workers run; {_asked(self._plan)}")

    async def _close(self) -> None:
        """End every worker; those that do not answer in time are killed."""
        import ray

        leaving = [seat.actor.leave.remote() for seat in self._seats.values() if seat.ready]
        for task in self._tasks:
            task.cancel()
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=5.0)
        for seat in self._seats.values():
            with contextlib.suppress(Exception):
                ray.kill(seat.actor)
        ray.shutdown()


def _asked(plan: Plan) -> str:
    cluster, memory = plan.cluster, plan.limits.memory_bytes
    gpus = f" and {cluster.gpus:g} GPU" if cluster.gpus else ""
    room = f" and {memory / 2**30:.1f} GiB of memory" if memory else ""
    return f"each asks the cluster for {cluster.cpus:g} CPU{gpus}{room}"


def _cause(error: Exception) -> str:
    """Ray's own words for a death, in one line."""
    kind = type(error).__name__
    words = " ".join(str(error).split())
    if "node" in words.lower() and ("died" in words or "dead" in words.lower()) and "NodeDied" in kind + words:
        return "its node left the cluster"
    for mark in ("The actor died because of an error raised in its creation task", "ModuleNotFoundError"):
        if mark in words:
            return words[-300:]
    return f"its worker on the cluster died ({kind})"
