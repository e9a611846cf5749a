"""The moves of a study in their order: a new candidate, or a known one going on to the next rung.

Move k knows exactly the outcomes of the moves before `known`, whatever else has ended by then: none for the rows drawn evenly at
the start; then all of these and of the moves up to k - 1 - lag; once no candidate is left to propose, all up to the last pause.
So the same outcomes give the same moves with one worker or many, and after any kill. `known` is recorded with each move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from halosearch.search.pool import PoolExhaustedError
from halosearch.search.rungs import Standing, next_promotion
from halosearch.search.sampler import Outcome, Proposer


@dataclass(frozen=True, slots=True)
class Move:
    """Move `number`: trial `trial` (of row `row`) is to reach rung `rung`; decided on the outcomes of the first `known` moves."""

    number: int
    trial: int
    row: int
    rung: int
    known: int


@dataclass(frozen=True, slots=True)
class Shape:
    """How a study is built: trials in all, how many of the first are drawn evenly and run to the top, the top rung's index.

    `eta`: one in so many goes on to the next rung; 0 sends every trial straight to the top. `lag`: moves that may be under way
    while the next one is decided.
    """

    trials: int
    uniform: int
    top: int = 0
    eta: int = 0
    lag: int = 0


class Schedule:
    """Decides moves, and follows recorded ones."""

    def __init__(self, shape: Shape, proposer: Proposer, propose: Callable[[], int] | None = None) -> None:
        """Begin before the first move. `propose`: how the proposer is asked for a new row."""
        self.shape, self._proposer, self._propose = shape, proposer, propose or proposer.propose
        self.moves: list[Move] = []
        self._trials = shape.trials
        self._told = 0
        self._pause = -1
        self._standings: dict[int, Standing] = {}
        self._rows: dict[int, int] = {}
        self._sent_to: dict[int, int] = {}
        self.finished = False

    @property
    def proposed(self) -> int:
        """Trials so far."""
        return self._proposer.proposed

    def row_of(self, trial: int) -> int:
        """The row that a trial is of."""
        return self._rows[trial]

    @property
    def in_uniform_part(self) -> bool:
        """Whether rows are still to be drawn evenly."""
        return self.proposed < min(self.shape.uniform, self._trials)

    @property
    def begun_to_search(self) -> bool:
        """Whether a move was made beyond the rows drawn evenly, or none will be."""
        return len(self.moves) > self.shape.uniform or self._trials <= self.shape.uniform

    def _known(self) -> int:
        """How many moves the next one knows the outcomes of."""
        if self.in_uniform_part:
            return 0
        if self.proposed < self._trials:
            return max(self.shape.uniform, len(self.moves) - self.shape.lag)
        return max(self._pause, 0)

    def ready(self, outcomes: Mapping[int, Outcome]) -> bool:
        """Whether every outcome that the next move must know is there."""
        return all(number in outcomes for number in range(self._told, self._known()))

    def next(self, outcomes: Mapping[int, Outcome]) -> Move | None:
        """The next move; None where none is left (`finished`) or it has to wait for outcomes."""
        while self.ready(outcomes):
            self._tell(outcomes, self._known())
            promotion = None
            if self.shape.eta and not self.in_uniform_part:
                promotion = next_promotion(self._standings, self.shape.top, self.shape.eta)
            if promotion is not None:
                trial, rung = promotion
                return self._add(Move(len(self.moves), trial, self._rows[trial], rung, self._known()))
            if self.proposed < self._trials:
                try:
                    return self._new()
                except PoolExhaustedError:
                    self._trials = self.proposed
                    continue
            if not self.shape.eta or self._pause == len(self.moves):
                self.finished = True
                return None
            self._pause = len(self.moves)
        return None

    def _new(self) -> Move:
        searched, trial, known = not self.in_uniform_part, self.proposed, self._known()
        row = self._propose()
        rung = 0 if searched and self.shape.eta else self.shape.top
        return self._add(Move(len(self.moves), trial, row, rung, known))

    def _add(self, move: Move) -> Move:
        self.moves.append(move)
        self._rows[move.trial], self._sent_to[move.trial] = move.row, move.rung
        before = self._standings.get(move.trial)
        if before is not None:
            self._standings[move.trial] = replace(before, sent_to=move.rung)
        return move

    def replay(self, move: Move, outcomes: Mapping[int, Outcome]) -> None:
        """Follow a recorded move."""
        self._tell(outcomes, min(move.known, len(self.moves)))
        if move.trial == self.proposed:
            self._proposer.propose(move.row)
        if self.proposed >= self._trials:
            self._pause = max(self._pause, move.known)
        self._add(move)

    def _tell(self, outcomes: Mapping[int, Outcome], known: int) -> None:
        while self._told < known:
            move, outcome = self.moves[self._told], outcomes[self._told]
            self._told += 1
            whole = outcome.scores is None or not self.shape.eta or len(outcome.scores) > self.shape.top
            self._proposer.tell(move.trial, outcome, final=whole)
            if outcome.scores is None:
                self._standings.pop(move.trial, None)
                continue
            searched = move.trial >= self.shape.uniform
            sent_to = self._sent_to[move.trial]
            self._standings[move.trial] = Standing(outcome.scores, outcome.cost, searched, sent_to)
