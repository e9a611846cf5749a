"""The process that talks to a Ray cluster: one actor per worker (`ray_worker.RayWorker`), each given one row after the other."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.joining import CONNECT_S, Refused, connect
from halosearch.run.engines.ray_client import CAPACITY, CLOSE, FAULT, NEWS, NOTE, STOP, SUBMIT, WorkPlan, abandon
from halosearch.run.protocol import DIED, PROGRESS, STOPPED, Event

NEWS_WAIT_S = 5.0
UNREACHABLE_S = 30.0
"""A worker that cannot be asked for this long counts as dead."""
HEAD_GONE_S = 30.0
STUCK_S = 120.0
TELL_WAITING_S = 15.0
FALSE_STARTS = 3
GONE, HEADLESS, STUCK = 3, 4, 5
"""Exit codes of a process that cannot go on."""
Say = Callable[..., None]


def serve(pipe: Connection, plan: WorkPlan) -> None:
    """Talk to Ray until told to close."""
    inbox = listen(pipe)
    with served(pipe):
        head = connect(plan.cluster, plan.size, plan.limits.memory_bytes)
        pipe.send((CAPACITY, 0))
        asyncio.run(_Engine(pipe, inbox, plan, head).run())


@contextlib.contextmanager
def served(pipe: Connection) -> Any:
    """Say why the cluster cannot be used; whatever else goes wrong, the driver builds another connection."""
    try:
        yield
    except Refused as refused:
        pipe.send((FAULT, refused.sentence, refused.hint, False))
        time.sleep(1.0)
        abandon(GONE)
    except BaseException:  # noqa: BLE001  # Ray raises SystemExit, too
        traceback.print_exc()
        abandon(GONE)


def listen(pipe: Connection) -> queue.SimpleQueue[tuple[Any, ...]]:
    """What the driver says, always read, so that it never waits for one that waits for Ray. Without a driver, end."""
    inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                inbox.put(pipe.recv())
        except (EOFError, OSError):
            abandon(GONE)

    threading.Thread(target=read, daemon=True).start()
    return inbox


def watch_head(host: str, port: int, stuck: Callable[[], bool] = lambda: False) -> None:
    """End this process when the head is gone, or it is stuck in Ray: the driver builds another one."""

    def watch() -> None:
        answered = time.monotonic()
        while True:
            time.sleep(2.0)
            with contextlib.suppress(OSError):
                socket.create_connection((host, port), CONNECT_S).close()
                answered = time.monotonic()
            if time.monotonic() - answered > HEAD_GONE_S:
                abandon(HEADLESS)
            if stuck():
                abandon(STUCK)

    threading.Thread(target=watch, daemon=True).start()


class _Engine:
    """Rows in, news out."""

    def __init__(
        self, pipe: Connection, inbox: queue.SimpleQueue[tuple[Any, ...]], plan: WorkPlan, head: tuple[str, int]
    ) -> None:
        self._pipe, self._inbox, self._plan, self._head = pipe, inbox, plan, head
        self._waiting: asyncio.Queue[tuple[Evaluation, bytes | None]] = asyncio.Queue()
        self._actors: dict[int, Any] = {}
        """Workers that are ready, by their place."""
        self._begun: set[int] = set()
        """Rows of which a worker has told something: only their deaths can be theirs."""
        self._false_starts, self._alive_at, self._told = 0, time.monotonic(), plan.size

    async def run(self) -> None:
        """Until told to close."""
        watch_head(*self._head, lambda: time.monotonic() - self._alive_at > STUCK_S)
        tasks = [asyncio.create_task(self._keep_working(place)) for place in range(self._plan.size)]
        tasks.append(asyncio.create_task(self._tell_of_waiting()))
        loop = asyncio.get_running_loop()
        while True:
            message = await loop.run_in_executor(None, self._next_message)
            self._alive_at = time.monotonic()
            broken = next((task for task in tasks if task.done()), None)
            if broken is not None:
                broken.result()  # what nobody waits for must not fail unseen
            if message is None:
                continue
            if message[0] == SUBMIT:
                self._waiting.put_nowait((message[1], message[2]))
            elif message[0] == STOP:
                self._stop()
            elif message[0] == CLOSE:
                await self._close(tasks)
                return

    def _next_message(self) -> tuple[Any, ...] | None:
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=1.0)
        return None

    def _say(self, *message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            abandon(GONE)  # the driver is gone

    async def _keep_working(self, place: int) -> None:
        """A worker at this place, and another one whenever it is lost; one that the cluster has no room for comes when it has."""
        while True:
            actor, given = self._new_actor(), list[Evaluation]()
            try:
                await actor.ready.remote()
                self._actors[place], self._false_starts = actor, 0
                self._say(CAPACITY, len(self._actors))
                while True:
                    await self._evaluate(actor, given)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  # Ray has many words for a worker that is gone
                self._lose(place, actor, given, _cause(error))

    async def _evaluate(self, actor: Any, given: list[Evaluation]) -> None:
        """One row on a worker, its news to the driver as they come."""
        row, checkpoint = await self._waiting.get()
        given.append(row)
        self._begun.discard(row.id)
        await actor.begin.remote(row, checkpoint)
        seen = 0
        while True:
            for number, item in await self._news(actor, seen):
                seen = number
                self._begun.add(row.id)
                self._say(*item)
                if item[0] == NEWS and item[1].kind != PROGRESS:
                    given.clear()
            if not given:
                return

    async def _news(self, actor: Any, seen: int) -> list[tuple[int, tuple[Any, ...]]]:
        """News of a worker; one that cannot be asked for a moment is asked again."""
        import ray.exceptions as trouble

        end = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                found: list[tuple[int, tuple[Any, ...]]] = await actor.news.remote(seen, NEWS_WAIT_S)
            except trouble.ActorUnavailableError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(1.0)
            else:
                return found

    def _new_actor(self) -> Any:
        import ray

        from halosearch.run.engines.ray_worker import RayWorker

        cluster, memory = self._plan.cluster, self._plan.limits.memory_bytes
        options: dict[str, Any] = {
            "num_cpus": cluster.cpus,
            "num_gpus": cluster.gpus,
            "max_restarts": 0,
            "max_concurrency": 4,
            "scheduling_strategy": "SPREAD",
        }
        return ray.remote(RayWorker).options(**options, **({"memory": memory} if memory else {})).remote(self._plan)

    def _lose(self, place: int, actor: Any, given: list[Evaluation], cause: str) -> None:
        """A worker is gone: its row's worker died, and another worker is asked for."""
        import ray

        with contextlib.suppress(Exception):
            ray.kill(actor)
        if self._actors.pop(place, None) is None:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                self._say(
                    FAULT,
                    f"workers cannot start on the cluster: {cause}",
                    "the same halosearch must be installed on every node",
                    True,
                )
        self._say(CAPACITY, len(self._actors))
        for row in given:
            self._say(NEWS, Event(DIED, row, reason=cause, blameless=row.id not in self._begun))

    def _stop(self) -> None:
        while not self._waiting.empty():
            self._say(NEWS, Event(STOPPED, self._waiting.get_nowait()[0]))
        for actor in self._actors.values():
            actor.stop.remote()

    async def _tell_of_waiting(self) -> None:
        """Say how many workers are there whenever that has changed for a while."""
        while True:
            await asyncio.sleep(TELL_WAITING_S)
            if len(self._actors) != self._told:
                self._told = len(self._actors)
                self._say(NOTE, f"{self._told} of {self._plan.size} workers run; {_asked(self._plan)}")

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        """End every worker; those that do not answer in time end with this process."""
        import ray

        for task in tasks:
            task.cancel()
        leaving = [actor.leave.remote() for actor in self._actors.values()]
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=5.0)
        ray.shutdown()


def _asked(plan: WorkPlan) -> str:
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
