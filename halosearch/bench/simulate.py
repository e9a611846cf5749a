"""Replays: a search on a recorded table, with workers that exist only on a simulated clock.

In-pool contenders run through the very loop, schedule and proposer of a study. The others ask and tell Optuna as its
documentation shows. A proposal's own time (of this process) is added to the clock, for the driver does nothing else meanwhile.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from halosearch.bench.table import COST, Table
from halosearch.run.jobs import DONE, Event, Job
from halosearch.run.loop import Loop, Parts, State
from halosearch.search.pool import Pool
from halosearch.search.sampler import Guide, Proposer
from halosearch.search.schedule import Move, Schedule, Shape


@dataclass(slots=True)
class Replay:
    """What a search found, in the order of finishing: (seconds, row) of every full training, and how many asks it took.

    `proposed` are all rows that any training was begun of; `outside` counts asks outside the budget; `capped` says that the search
    was ended by us for the number of its asks.
    """

    found: list[tuple[float, int]] = field(default_factory=list)
    proposed: list[int] = field(default_factory=list)
    outside: int = 0
    asks: int = 0
    seconds: float = 0.0
    capped: bool = False
    sampler_seconds: float = 0.0


Until = Callable[[float, int], bool]
"""Told of every full training's end (seconds, row); true ends the replay: no more are begun."""


@dataclass(frozen=True, slots=True)
class InPool:
    """A contender inside the pool: a sampler of `search.sampler`, its rungs (`eta` 0: none), what it knows of seconds."""

    sampler: str
    eta: int = 0
    knows_seconds: bool = True
    uniform_share: float | None = None
    uniform: int = 8


class VirtualWorkers:
    """Workers on a simulated clock, which hand back what the table recorded."""

    def __init__(self, capacity: int, table: Table, seen: np.ndarray, replay: Replay, until: Until) -> None:
        """Begin at second 0; `done` becomes true when `until` says so."""
        self.capacity, self._table, self._seen, self._replay = capacity, table, seen, replay
        self._until = until
        self.clock, self.done = 0.0, False
        self._busy: list[tuple[float, int, Job]] = []
        self._begun = 0
        self._reached: dict[int, int] = {}

    def submit(self, job: Job) -> None:
        """Begin a job; it takes the recorded seconds of the rungs that are still to climb."""
        row, top = int(job.dials["row"]), len(self._table.rungs) - 1
        rung = top if job.rung < 0 else job.rung
        first = self._reached.get(row, -1) + 1
        self._reached[row] = rung
        self._begun += 1
        end = self.clock + float(self._table.seconds[row, first : rung + 1].sum())
        heapq.heappush(self._busy, (end, self._begun, job))

    def poll(self, timeout_s: float) -> list[Event]:
        """Go to the end of the job that ends first."""
        del timeout_s
        if not self._busy:
            return []
        end, _, job = heapq.heappop(self._busy)
        self.clock = max(self.clock, end)
        row, top = int(job.dials["row"]), len(self._table.rungs) - 1
        rung = top if job.rung < 0 else job.rung
        if rung == top:
            self._replay.found.append((self.clock, row))
            self.done = self.done or self._until(self.clock, row)
        scores = [float(score) for score in self._seen[row, : rung + 1]]
        cost = float(self._table.costs()[row])
        return [Event(DONE, job, {"state": "complete", "rung_scores": scores, "guide_cost": cost})]

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""


class _Ledger:
    """Keeps what was proposed."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def move(self, move: Move) -> None:
        """Take note of new rows."""
        if move.trial == len(self._replay.proposed):
            self._replay.proposed.append(move.row)

    def begin_run(self, job: Job) -> int:
        """First run, always."""
        del job
        return 1

    def pause(self, job: Job, result: dict[str, Any]) -> None:
        """Nothing to keep."""

    def finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        """Nothing to keep."""

    def prune(self, trials: list[int]) -> None:
        """Nothing to keep."""


def _hear_nothing(kind: str, job: Job, info: dict[str, Any]) -> None:
    del kind, job, info


class _Timed(Proposer):
    """A proposer whose time is added to the simulated clock."""

    workers: VirtualWorkers
    replay: Replay

    def propose(self, forced: int | None = None) -> int:
        """As `Proposer`."""
        started = time.process_time()
        row = super().propose(forced)
        spent = time.process_time() - started
        self.workers.clock += spent
        self.replay.sampler_seconds += spent
        self.replay.asks += 1
        return row


def replay_in_pool(
    contender: InPool, table: Table, seed: int, workers: int, until: Until, expected: np.ndarray
) -> Replay:
    """A study's own search on a table, to its last row or until told to end; `expected` seconds of each row's trial."""
    replay = Replay()
    virtual = VirtualWorkers(workers, table, table.seen(seed), replay, until)
    pool = Pool(table.rows, table.features)
    top = len(table.rungs) - 1
    seconds = expected if contender.knows_seconds else None
    guide = Guide(COST, tuple(map(float, table.rungs)), seconds, uniform_share=contender.uniform_share)
    proposer = _Timed(pool, contender.sampler, seed, contender.uniform, guide)
    proposer.workers, proposer.replay = virtual, replay
    uniform = 0 if contender.sampler == "random" else contender.uniform
    shape = Shape(len(table.rows), uniform, top, contender.eta, workers - 1)
    loop = Loop(
        Parts(seed),
        Schedule(shape, proposer),
        State(),
        virtual,
        _Ledger(replay),
        lambda row: {"row": row},
        lambda: not virtual.done,
        lambda: False,
        _hear_nothing,
    )
    loop.run()
    replay.seconds = virtual.clock
    return replay


Ask = Callable[[], tuple[Any, int | None]]
"""Gives a handle of the trial and its row, None where the ask lies outside the budget."""
Tell = Callable[[Any, int, float, float], None]
"""Takes the handle, the row, the score and the cost."""


def replay_asked(ask: Ask, tell: Tell, table: Table, seed: int, workers: int, until: Until, max_asks: int) -> Replay:
    """A search that is asked whenever a worker is free and told when a training ends; asks outside the budget cost no training."""
    replay, seen = Replay(), table.seen(seed)
    busy: list[tuple[float, int, Any, int]] = []
    clock, done = 0.0, False
    while busy or not done:
        replay.capped = replay.asks >= max_asks
        done = done or replay.capped or len(replay.proposed) == len(table.rows)
        if len(busy) < workers and not done:
            started = time.process_time()
            handle, row = ask()
            spent = time.process_time() - started
            clock += spent
            replay.sampler_seconds += spent
            replay.asks += 1
            if row is None:
                replay.outside += 1
                continue
            replay.proposed.append(row)
            heapq.heappush(busy, (clock + float(table.seconds[row].sum()), len(replay.proposed), handle, row))
            continue
        if not busy:
            break
        end, _, handle, row = heapq.heappop(busy)
        clock = max(clock, end)
        replay.found.append((clock, row))
        done = done or until(clock, row)
        tell(handle, row, float(seen[row, -1]), float(table.costs()[row]))
    replay.seconds = clock
    return replay
