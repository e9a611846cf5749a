"""Replays: a search on a recorded table, with workers that exist only on a simulated clock.

In-pool contenders run through the very loop, schedule and proposer of a study. The others ask and tell Optuna as its
documentation shows. A proposal's own time (of this process) is added to the clock, for the driver does nothing else meanwhile.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from halosearch.bench.table import COST, Table
from halosearch.record.evaluation import COMPLETE, Evaluation
from halosearch.run.driver import Control, Driver
from halosearch.run.protocol import DONE, Event
from halosearch.search.planner import SearchDesign, SearchPlanner
from halosearch.search.pool import Pool
from halosearch.search.pool_sampler import UNIFORM_SHARE, Guidance
from halosearch.search.sampler import Guide, Proposer
from halosearch.search.schedule import Shape


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


PLACE = "place"
"""The column that holds a row's position in the table."""
Until = Callable[[float, int], bool]
"""Told of every full training's end (seconds, row); true ends the replay: no more are begun."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a replay is of beside the contender: its seed, and how many simulated workers there are."""

    seed: int
    workers: int


@dataclass(frozen=True, slots=True)
class InPool:
    """A contender inside the pool: a sampler of `search.sampler`, its rungs (`eta` 0: none), what it knows of seconds."""

    sampler: str
    eta: int = 0
    knows_seconds: bool = True
    uniform_share: float = UNIFORM_SHARE
    uniform: int = 8


class VirtualWorkers:
    """Workers on a simulated clock, which hand back what the table recorded."""

    def __init__(self, capacity: int, table: Table, seen: np.ndarray, replay: Replay, until: Until) -> None:
        """Begin at second 0; `done` becomes true when `until` says so."""
        self.capacity, self._table, self._seen, self._replay = capacity, table, seen, replay
        self._until = until
        self.clock, self.done = 0.0, False
        self._busy: list[tuple[float, int, Evaluation]] = []
        self._begun = 0
        self._reached: dict[int, int] = {}

    def submit(self, row: Evaluation) -> None:
        """Begin an evaluation; it takes the recorded seconds of the rungs that are still to climb."""
        place, rung = int(row.costs[PLACE]), row.rung
        first = self._reached.get(place, -1) + 1
        self._reached[place] = rung
        self._begun += 1
        end = self.clock + float(self._table.seconds[place, first : rung + 1].sum())
        heapq.heappush(self._busy, (end, self._begun, row))

    def poll(self, timeout_s: float) -> list[Event]:
        """Go to the end of the evaluation that ends first."""
        del timeout_s
        if not self._busy:
            return []
        end, _, row = heapq.heappop(self._busy)
        self.clock = max(self.clock, end)
        place, rung = int(row.costs[PLACE]), row.rung
        if rung == len(self._table.rungs) - 1:
            self._replay.found.append((self.clock, place))
            self.done = self.done or self._until(self.clock, place)
        scores = [{"score": float(score)} for score in self._seen[place, : rung + 1]]
        return [Event(DONE, row, {"state": COMPLETE, "scores": scores})]

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""


class _Rows:
    """Keeps nothing but what was proposed."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def append(self, row: Evaluation, distributions: Mapping[str, Any]) -> None:
        """Take note of new candidates."""
        del distributions
        if row.trial == len(self._replay.proposed):
            self._replay.proposed.append(int(row.costs[PLACE]))

    def end(self, row: Evaluation) -> None:
        """Nothing to keep."""


class _Nobody:
    """Listens to nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def event(self, kind: str, row: Evaluation, info: dict[str, Any]) -> None:
        """Nothing."""


def replay_in_pool(contender: InPool, table: Table, search: Search, until: Until, expected: np.ndarray) -> Replay:
    """A study's own search on a table, to its last row or until told to end; `expected` seconds of each row's trial."""
    replay = Replay()
    virtual = VirtualWorkers(search.workers, table, table.seen(search.seed), replay, until)
    top = len(table.rungs) - 1
    seconds = expected if contender.knows_seconds else None
    guide = Guide(COST, Guidance(tuple(map(float, table.rungs)), seconds, uniform_share=contender.uniform_share))
    uniform = 0 if contender.sampler == "random" else contender.uniform
    shape = Shape(len(table.rows), uniform, top, contender.eta, search.workers - 1)

    def propose(proposer: Proposer) -> int:
        """The proposer's own time is added to the simulated clock."""
        started = time.process_time()
        row = proposer.propose()
        spent = time.process_time() - started
        virtual.clock += spent
        replay.sampler_seconds += spent
        replay.asks += 1
        return row

    rows = table.rows.assign(**{PLACE: np.arange(len(table.rows))})
    design = SearchDesign(shape, contender.sampler, guide, search.seed, timed=False, costs=(COST, PLACE))
    planner = SearchPlanner(design, Pool(rows, table.features), propose)
    control = Control(clock=lambda: float(virtual.done), deadline=0.5)
    Driver(planner, virtual, control, _Nobody(), _Rows(replay), [], top=top).run()
    replay.seconds = virtual.clock
    return replay


Ask = Callable[[], tuple[Any, int | None]]
"""Gives a handle of the trial and its row, None where the ask lies outside the budget."""
Tell = Callable[[Any, int, float, float], None]
"""Takes the handle, the row, the score and the cost."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search that is asked and told, as Optuna's documentation shows; ended by us after so many asks."""

    ask: Ask
    tell: Tell
    max_asks: int


def replay_asked(searcher: Asked, table: Table, search: Search, until: Until) -> Replay:
    """A search that is asked whenever a worker is free and told when a training ends; asks outside the budget cost no training."""
    replay, seen = Replay(), table.seen(search.seed)
    busy: list[tuple[float, int, Any, int]] = []
    clock, done = 0.0, False
    while busy or not done:
        replay.capped = replay.asks >= searcher.max_asks
        done = done or replay.capped or len(replay.proposed) == len(table.rows)
        if len(busy) < search.workers and not done:
            started = time.process_time()
            handle, row = searcher.ask()
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
        searcher.tell(handle, row, float(seen[row, -1]), float(table.costs()[row]))
    replay.seconds = clock
    return replay
