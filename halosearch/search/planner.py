"""Which evaluation comes next in a search study: a function of the table's rows.

The order of a study: the anchor model's step time; the reference model; candidates drawn evenly; checks of the proxy on these; the
gate (does the proxy rank?); the search; step times of who is on or near the front; held-out evaluations of the finalists. Every
decision is read off the rows before it, and `known` says how many rows of the search it was allowed to see: the same outcomes give
the same rows with one worker or many, in any order of completion and after any kill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halosearch.analysis.proxy_validation import FAILED
from halosearch.analysis.rough_step_times import worth_timing
from halosearch.analysis.validation_rows import validation_of
from halosearch.errors import StoreError
from halosearch.record.evaluation import (
    ANCHOR,
    COMPLETE,
    REFERENCE,
    RUNNING,
    STEP_TIME,
    TRIAL,
    Evaluation,
)
from halosearch.record.trials import trials_of
from halosearch.search.pool import Pool
from halosearch.search.repeats import Repeats, checks, finals
from halosearch.search.rivals import rival_rows
from halosearch.search.sampler import Guide, Outcome, Proposer
from halosearch.search.schedule import Move, Schedule, Shape

DECIDED, WAIT, FINISHED, REFUSED = "decided", "wait", "finished", "refused"


@dataclass(frozen=True, slots=True)
class SearchDesign:
    """What a search study is, for its planner.

    Args:
        shape, sampler, guide: of the search. seed: of all trials.
        reference: dials of the reference model, or None. timed: whether the anchor's step time is measured first.
        time_front: whether who is on or near the front is timed after the search, in rows of its own.
        costs: the pool's columns that go into rows. repeats: checks of the proxy and finals. rivals: networks of other families.
        force: search even where the proxy was shown not to rank.
    """

    shape: Shape
    sampler: str
    guide: Guide
    seed: int
    reference: dict[str, Any] | None = None
    timed: bool = True
    time_front: bool = False
    costs: tuple[str, ...] = ("params", "macs", "activations")
    repeats: Repeats = field(default_factory=Repeats)
    rivals: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next: a decided row, or why there is none (wait for rows that run; nothing is left; the proxy does not rank)."""

    status: str
    row: Evaluation | None = None
    note: str = ""
    """What the gate found, with its refusal or with the decision that it let through."""


class SearchPlanner:
    """Plans a search. What it remembers between calls only saves time: a new planner given the same rows decides the same."""

    def __init__(self, design: SearchDesign, pool: Pool, propose: Callable[[Proposer], int] = Proposer.propose) -> None:
        """`propose`: how a proposer is asked (a simulator takes its time)."""
        self._design, self._pool, self._propose = design, pool, propose
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pool.forget()
        design = self._design
        proposer = Proposer(self._pool, design.sampler, design.seed, design.shape.uniform, design.guide)
        self._schedule = Schedule(design.shape, proposer, lambda: self._propose(proposer))

    def plan(self, rows: Sequence[Evaluation]) -> Plan:
        """The next decision.

        Raises:
            StoreError: a row is of no candidate of the pool.
        """
        first = self._before_the_trials(rows)
        if first is not None:
            return first
        trials = [row for row in rows if row.kind == TRIAL]
        outcomes = {place: self._outcome(row) for place, row in enumerate(trials) if row.state != RUNNING}
        self._follow(trials, outcomes)
        if self._schedule.in_uniform_part:
            move = self._next_move(rows, outcomes)
            if move.status == DECIDED or self._schedule.in_uniform_part:
                return move  # else the pool ended among the rows drawn evenly: checks and finals follow
        check = self._check(rows, outcomes)
        if check is not None:
            return check
        note, refused = self._gate(rows)
        return Plan(REFUSED, note=note) if refused else replace(self._search(rows, outcomes), note=note)

    def _before_the_trials(self, rows: Sequence[Evaluation]) -> Plan | None:
        if self._design.timed:
            anchors = [row for row in rows if row.kind == ANCHOR and row.state in (RUNNING, COMPLETE)]
            if not anchors:
                return Plan(DECIDED, Evaluation(len(rows), ANCHOR, {}))
            if anchors[0].state == RUNNING:
                return Plan(WAIT)
        reference = self._design.reference
        if reference is not None and not any(row.kind == REFERENCE for row in rows):
            return Plan(DECIDED, Evaluation(len(rows), REFERENCE, reference, seed=self._design.seed))
        return None

    def _follow(self, trials: Sequence[Evaluation], outcomes: dict[int, Outcome]) -> None:
        """Bring the schedule to where the rows are."""
        mine = [(move.trial, move.rung, move.known) for move in self._schedule.moves]
        said = [(row.trial, row.rung, row.known) for row in trials]
        if mine[: len(said)] != said[: len(mine)] or len(mine) > len(said):
            self._begin_anew()
            mine = []
        for place, row in enumerate(trials[len(mine) :], len(mine)):
            self._schedule.replay(Move(place, row.trial, self.row_of(row), row.rung, row.known), outcomes)

    def row_of(self, row: Evaluation) -> int:
        """The pool's row that a recorded trial is of.

        Raises:
            StoreError: no such row: the record belongs to another space.
        """
        index = self._pool.nearest(row.candidate)
        if self._pool.params(index) != row.candidate:
            raise StoreError(
                f"trial {row.trial} is not in this study's candidate pool",
                "the space or the counting rules changed: start another study with --name",
            )
        return index

    def _outcome(self, row: Evaluation) -> Outcome:
        scores = row.scores
        if scores is None:
            return Outcome(None)
        # where nothing is stopped, only the last score is sure to be there
        steps = scores if self._design.shape.eta else scores[-1:]
        return Outcome(steps, float(row.costs[self._design.guide.cost]))

    def _next_move(self, rows: Sequence[Evaluation], outcomes: dict[int, Outcome]) -> Plan:
        move = self._schedule.next(outcomes)
        if move is None:
            return Plan(FINISHED if self._schedule.finished else WAIT)
        before = [row.id for row in rows if row.kind == TRIAL and row.trial == move.trial]
        row = self._row(rows, move.row, TRIAL, move.trial)
        after = before[-1] if before else None
        return Plan(DECIDED, replace(row, rung=move.rung, known=move.known, after=after, seed=self._design.seed))

    def _row(self, rows: Sequence[Evaluation], place: int, kind: str, trial: int) -> Evaluation:
        costs = {name: self._pool.rows[name].iloc[place].item() for name in self._design.costs}
        return Evaluation(len(rows), kind, self._pool.params(place), costs, trial=trial)

    def _decide(self, wanted: Sequence[Evaluation], rows: Sequence[Evaluation]) -> Plan | None:
        """The first of the wanted repeats that is not in the table yet."""
        first = _missing(wanted, rows)
        if first is None:
            return None
        whole = self._row(rows, self._schedule.row_of(first.trial), first.kind, first.trial)
        return Plan(DECIDED, replace(first, id=whole.id, candidate=whole.candidate, costs=whole.costs))

    def _check(self, rows: Sequence[Evaluation], outcomes: dict[int, Outcome]) -> Plan | None:
        """A check of the proxy that is still to be made, or to be waited for."""
        moves = self._schedule.moves[: self._design.shape.uniform]
        even = {move.trial: outcomes[move.number] for move in moves if move.number in outcomes}
        shape, seed = self._design.shape, self._design.seed
        uniform = min(shape.uniform, self._schedule.proposed)
        dials = lambda trial: self._pool.params(self._schedule.row_of(trial))  # noqa: E731
        plan = self._decide(checks(self._design.repeats, uniform, seed, even, dials), rows)
        if plan is not None:
            return plan
        waiting = not self._schedule.begun_to_search and any(row.state == RUNNING for row in rows)
        return Plan(WAIT) if waiting else None

    def _gate(self, rows: Sequence[Evaluation]) -> tuple[str, bool]:
        """What is found of the proxy before the first searched candidate, and whether the search is refused."""
        if self._schedule.begun_to_search:
            return "", False
        if not self._design.repeats.retests:
            return "the proxy here: unknown; no candidate was trained twice (--retests 0)", False
        found = validation_of(rows, self._design.shape.uniform)
        note = f"the proxy here: {found['verdict']}; {found['reason']}"
        if found["verdict"] != FAILED:
            return note, False
        return (f"{note}\nsearching nevertheless (--force)", False) if self._design.force else (note, True)

    def _search(self, rows: Sequence[Evaluation], outcomes: dict[int, Outcome]) -> Plan:
        if not self._schedule.finished:
            move = self._next_move(rows, outcomes)
            if move.status != FINISHED:
                return move
        if any(row.kind == TRIAL and row.state == RUNNING for row in rows):
            return Plan(WAIT)
        plan = self._time(rows)
        if plan is not None:
            return plan
        plan = self._decide(finals(self._design.repeats, self._design.seed, rows), rows) or self._rival(rows)
        if plan is not None:
            return plan
        return Plan(WAIT if any(row.state == RUNNING for row in rows) else FINISHED)

    def _rival(self, rows: Sequence[Evaluation]) -> Plan | None:
        """A training of a rival that is still to be made."""
        wanted = rival_rows(self._design.rivals, self._design.seed, self._design.repeats.final_seeds)
        missing = _missing(wanted, rows)
        return None if missing is None else Plan(DECIDED, replace(missing, id=len(rows)))

    def _time(self, rows: Sequence[Evaluation]) -> Plan | None:
        """A step time that is still to be measured, or to be waited for: whoever is on or near the front, again with what that says."""
        if not self._design.time_front:
            return None
        there = {row.trial: row for row in rows if row.kind == STEP_TIME}
        known = [row for row in rows if row.kind == TRIAL]
        asked: list[int] = []
        while wanted := [number for number in worth_timing(trials_of(known)) if number not in asked]:
            missing = next((number for number in wanted if number not in there), None)
            if missing is not None:
                return Plan(DECIDED, self._row(rows, self._schedule.row_of(missing), STEP_TIME, missing))
            if any(there[number].state == RUNNING for number in wanted):
                return Plan(WAIT)
            asked += wanted
            known += [there[number] for number in wanted]
        return None


def _missing(wanted: Sequence[Evaluation], rows: Sequence[Evaluation]) -> Evaluation | None:
    """The first of the wanted rows that is not in the table yet."""
    there = {row.repeats for row in rows}
    return next((row for row in wanted if row.repeats not in there), None)
