"""The driver: plan, append, submit, append what came back. It knows no cost, no figure, no sampler."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from halosearch.errors import EnvironmentFault
from halosearch.record.evaluation import ANCHOR, COMPLETE, FAILED, PRUNED, RUNNING, TRIAL, Evaluation
from halosearch.record.trials import anchor_of
from halosearch.run.anchor import check_device, in_seconds
from halosearch.run.protocol import (
    BROKEN,
    DIED,
    DONE,
    PROGRESS,
    STOPPED,
    Event,
    MachineFaultError,
    Workers,
)
from halosearch.search.planner import DECIDED, FINISHED, REFUSED, WAIT, Plan

USERS = "user"
"""Whose steps were measured before that was written down."""
MAX_RUNS = 3
"""An evaluation whose worker died this many times without getting further in between is given up."""
MAX_ENDS = 20
"""And so is one that ended without a result this many times, whatever the cause."""
POLL_S = 0.25
NOT_KEPT = ("state", "reason")


class Planner(Protocol):
    """A kind of study: what comes next, as a function of the rows."""

    def plan(self, rows: Sequence[Evaluation]) -> Plan:
        """The next decision."""
        ...


class Rows(Protocol):
    """Where the driver writes; `record.table.Table` is one."""

    def append(self, row: Evaluation, distributions: Mapping[str, Any]) -> None:
        """A decided row."""
        ...

    def end(self, row: Evaluation) -> None:
        """How a row ended."""
        ...


class ProgressListener(Protocol):
    """Who is told how a study goes: the terminal."""

    def message(self, text: str) -> None:
        """One line for the reader."""
        ...

    def event(self, kind: str, row: Evaluation, info: dict[str, Any]) -> None:
        """An evaluation started, moved, ended, was requeued or stopped."""
        ...


@dataclass(slots=True)
class Control:
    """When to stop: `stopping` asks for an orderly end; `deadline` (on `clock`) ends dispatch and then what runs.

    `reason` says why a study stopped that nobody asked to.
    """

    stopping: bool = False
    reason: str = ""
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    def stop_now(self) -> bool:
        """Whether to start nothing more, and running evaluations should write their checkpoints and stop."""
        return bool(self.stopping or self.reason) or (self.deadline is not None and self.clock() >= self.deadline)


@dataclass(slots=True)
class _Lives:
    """What became of an evaluation's runs: starts, ends without a result, deaths that count, images reached, and at the last death."""

    runs: int = 0
    ends: int = 0
    deaths: int = 0
    reached: int = 0
    died_at: int = -1


@dataclass(slots=True)
class Driver:
    """One run of a study.

    Args:
        planner, workers, control, listener: see their types.
        table: where decided and ended rows are written; `rows` are those there at the start.
        distributions: of the candidates' dials, for the record.
        top: index of the last rung.
        watch: told again and again how many evaluations run. ended: told of every row that has ended.
    """

    planner: Planner
    workers: Workers
    control: Control
    listener: ProgressListener
    table: Rows
    rows: list[Evaluation]
    distributions: Mapping[str, Any] = field(default_factory=dict)
    top: int = 0
    watch: Callable[[int], None] = lambda _: None
    ended: Callable[[Evaluation], None] = lambda _: None
    status: str = WAIT
    _queue: deque[Evaluation] = field(default_factory=deque)
    _running: dict[int, Evaluation] = field(default_factory=dict)
    _lives: defaultdict[int, _Lives] = field(default_factory=lambda: defaultdict(_Lives))
    _stopping: bool = False
    _stale: bool = True
    """Whether the table has changed since the planner was asked."""

    def run(self) -> str:
        """Until nothing is left to do, the planner refuses, or a stop was asked for and what runs has ended.

        Returns: "finished", "refused" or "wait" (there is more to do).

        Raises:
            MachineFaultError: the machine (a full disk) keeps the study from going on.
            EnvironmentFault: the anchor's step time cannot be measured.
        """
        for row in self.rows:
            if row.state == RUNNING:
                self._queue.append(row)
                self._lives[row.id].runs = 1  # by an earlier driver
        while True:
            self.watch(len(self._running))
            if self.control.stop_now() and not self._stopping:
                self._stopping = True
                self.workers.stop()
            while not self._stopping and len(self._running) < self.workers.capacity and (following := self._next()):
                self._start(following)
            if not self._running and (self._stopping or self.status in (FINISHED, REFUSED)):
                return self.status
            for event in sorted(self.workers.poll(POLL_S), key=lambda event: event.kind == BROKEN):
                self._handle(event)

    def _next(self) -> Evaluation | None:
        if self._queue:
            return self._queue.popleft()
        if not self._stale:
            return None
        plan = self.planner.plan(self.rows)
        self.status = plan.status if plan.status != DECIDED else WAIT
        for line in plan.note.splitlines() if plan.status in (DECIDED, REFUSED) else ():
            self.listener.message(line)
        if plan.row is None:
            self._stale = False
            return None
        self.table.append(plan.row, self.distributions)
        self.rows.append(plan.row)
        return plan.row

    def _start(self, row: Evaluation) -> None:
        self._lives[row.id].runs += 1
        self._running[row.id] = row
        self.workers.submit(row)
        self.listener.event("start", row, {"run": self._lives[row.id].runs})

    def _handle(self, event: Event) -> None:
        row, lives = event.row, self._lives[event.row.id]
        if event.kind == PROGRESS:
            lives.reached = max(lives.reached, int(event.result.get("images", 0)))
            self.listener.event("progress", row, event.result)
            return
        self._running.pop(row.id, None)
        if event.kind == DONE:
            self._finish(row, event.result)
        elif event.kind == STOPPED:
            self._queue.appendleft(row)
            self.listener.event("stopped", row, {})
        elif event.kind == BROKEN:
            self.workers.stop()
            raise MachineFaultError(event.reason)
        elif event.kind == DIED:
            self._requeue(row, event)

    def _requeue(self, row: Evaluation, event: Event) -> None:
        lives = self._lives[row.id]
        lives.ends += 1
        if not event.blameless:  # what got further than the last time is no worse than at its first death
            lives.deaths = 1 if lives.reached > lives.died_at else lives.deaths + 1
            lives.died_at = lives.reached
        if lives.deaths >= MAX_RUNS or lives.ends >= MAX_ENDS:
            self._finish(row, {"state": FAILED, "reason": f"{event.reason}, {lives.ends} times"})
        else:
            self._queue.appendleft(row)
            self.listener.event("requeued", row, {"reason": event.reason})

    def _finish(self, row: Evaluation, result: dict[str, Any]) -> None:
        state, reason = str(result["state"]), str(result.get("reason", ""))
        kept = {key: value for key, value in result.items() if key not in NOT_KEPT}
        if "step_time" in kept and (anchor := anchor_of(self.rows)) is not None:
            kept |= self._timed(kept["step_time"], anchor)
        if row.kind == TRIAL and state == COMPLETE and 0 <= row.rung < self.top:
            images = kept["scores"][-1].get("images_seen")
            state, reason = PRUNED, f"stopped after {images:,} images: not among those that go on" if images else ""
        ended = replace(row, state=state, result=kept, reason=reason, runs=self._lives[row.id].runs)
        self.table.end(ended)
        self.rows[row.id] = ended
        self._stale = True
        if row.kind == ANCHOR and state != COMPLETE:
            raise EnvironmentFault(
                f"the anchor's step time cannot be measured: {reason}",
                "fewer --workers where memory ran out, else --device cpu under another --name",
            )
        self.listener.event("pause" if state == PRUNED else "end", row, {"state": state, "reason": reason, **kept})
        self.ended(ended)

    def _timed(self, step_time: dict[str, Any], anchor: dict[str, Any]) -> dict[str, float]:
        """Seconds of a ratio to the anchor; one that was measured on another device is the machine's fault.

        Nothing where one is of the device's step and the other of the user's: they are not compared.
        """
        if step_time.get("whose", USERS) != anchor.get("whose", USERS):
            return {}
        try:
            check_device(anchor, step_time["device"])
        except EnvironmentFault as fault:
            self.workers.stop()
            raise MachineFaultError(fault.sentence) from fault
        return in_seconds(step_time, anchor)
