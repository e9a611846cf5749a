"""Ask, evaluate, tell: trials in the order of their numbers, whatever happens to those who run them.

The loop knows nothing of costs or training: jobs go to `workers`, results come back, records are written by `Ledger`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from halosearch.search.jobs import (
    BROKEN,
    DIED,
    DONE,
    PROGRESS,
    REFERENCE,
    RETEST,
    STOPPED,
    TRIAL,
    Event,
    Job,
    MachineFaultError,
    Workers,
)
from halosearch.search.sampler import Outcome, PoolExhaustedError, Proposer

MAX_RUNS = 3
"""A job whose worker died this many times is given up."""
POLL_S = 0.25
SEED_STEP = 1_000_003
"""Seeds of retests lie this far from those of trials."""


class Ledger(Protocol):
    """Where the loop writes and what it knows of the past."""

    def propose(self, row: int) -> int:
        """Record a running trial of a row; returns its number."""
        ...

    def begin_run(self, job: Job) -> int:
        """Count a start; returns which run of the job this is."""
        ...

    def finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        """Record the end of a job."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to do: trials, how many of the first of them to repeat with another seed, and the seed of all."""

    trials: int
    retests: int
    seed: int


@dataclass(slots=True)
class State:
    """What is known at the start: rows proposed so far (by number), how ended trials came out, what else was finished."""

    rows: list[int] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    finished_retests: set[int] = field(default_factory=set)
    reference_done: bool = False


Listener = Callable[[str, Job, dict[str, Any]], None]
"""Told of every start, progress, end, failure and requeue, for the terminal."""


@dataclass(slots=True)
class Loop:
    """One run of a study.

    Args:
        plan, state, proposer, workers, ledger: see their types.
        dials: the dials of a row of the pool.
        reference: dials of the reference model, or None.
        may_dispatch: false once time is up or a stop was asked for.
        listen: told what happens.
    """

    plan: Plan
    state: State
    proposer: Proposer
    workers: Workers
    ledger: Ledger
    dials: Callable[[int], dict[str, Any]]
    reference: dict[str, Any] | None
    may_dispatch: Callable[[], bool]
    stop_now: Callable[[], bool]
    listen: Listener
    _queue: deque[Job] = field(default_factory=deque)
    _running: dict[str, Job] = field(default_factory=dict)
    _deaths: dict[str, int] = field(default_factory=dict)
    _exhausted: bool = False
    _stopping: bool = False

    def run(self) -> bool:
        """Run until all is done, or until dispatch ends and what runs has finished. True if nothing is left to do.

        Raises:
            MachineFaultError: the machine (a full disk) keeps the study from going on.
        """
        self._replay()
        while True:
            if self.stop_now() and not self._stopping:
                self._stopping = True
                self.workers.stop()
            if self.may_dispatch() and not self._stopping:
                self._dispatch()
            if not self._running and (self._stopping or not self.may_dispatch() or not self._waiting()):
                return not self._waiting()
            for event in self.workers.poll(POLL_S):
                self._handle(event)

    def _replay(self) -> None:
        """Bring the proposer to where the record is; queue what was running when the last run ended."""
        if self.reference is not None and not self.state.reference_done:
            self._queue.append(Job(REFERENCE, -1, self.reference, self.plan.seed))
        for number, row in enumerate(self.state.rows):
            self.proposer.propose(self.state.outcomes, forced=row)
            if number not in self.state.outcomes:
                self._queue.append(self._trial(number))

    def _trial(self, number: int) -> Job:
        return Job(TRIAL, number, self.dials(self.state.rows[number]), self.plan.seed)

    def _waiting(self) -> bool:
        """Whether anything is left to start."""
        return bool(self._queue) or self._trials_left() or bool(self._retests_left())

    def _trials_left(self) -> bool:
        return len(self.state.rows) < self.plan.trials and not self._exhausted

    def _retests_left(self) -> list[int]:
        """Completed trials among the first to be repeated, that are neither repeated nor being repeated."""
        if self._trials_left():
            return []
        complete: list[int] = []
        for number in range(len(self.state.rows)):
            if number not in self.state.outcomes or len(complete) == self.plan.retests:
                break
            if self.state.outcomes[number].values is not None:
                complete.append(number)
        return [n for n in complete if n not in self.state.finished_retests and f"{RETEST}-{n}" not in self._running]

    def _dispatch(self) -> None:
        while len(self._running) < self.workers.capacity:
            job = self._next_job()
            if job is None:
                return
            run = self.ledger.begin_run(job)
            self._running[job.key] = job
            self.workers.submit(job)
            self.listen("start", job, {"run": run})

    def _next_job(self) -> Job | None:
        if self._queue:
            return self._queue.popleft()
        if self._trials_left() and self.proposer.ready(self.state.outcomes):
            try:
                row = self.proposer.propose(self.state.outcomes)
            except PoolExhaustedError:
                self._exhausted = True
                return self._next_job()
            self.state.rows.append(row)
            return self._trial(self.ledger.propose(row))
        retests = self._retests_left()
        if retests:
            return Job(RETEST, retests[0], self.dials(self.state.rows[retests[0]]), self.plan.seed + SEED_STEP)
        return None

    def _handle(self, event: Event) -> None:
        job = event.job
        if event.kind == PROGRESS:
            self.listen("progress", job, event.result)
            return
        self._running.pop(job.key, None)
        if event.kind == DONE:
            self._finish(job, event.result["state"], event.result, str(event.result.get("reason", "")))
        elif event.kind == STOPPED:
            self._queue.appendleft(job)
            self.listen("stopped", job, {})
        elif event.kind == BROKEN:
            self.workers.stop()
            raise MachineFaultError(event.reason)
        elif event.kind == DIED:
            self._requeue(job, event.reason)

    def _requeue(self, job: Job, reason: str) -> None:
        runs = self._deaths[job.key] = self._deaths.get(job.key, 0) + 1
        if runs >= MAX_RUNS:
            self._finish(job, "failed", {}, f"{reason}, {runs} times")
        else:
            self._queue.appendleft(job)
            self.listen("requeued", job, {"reason": reason})

    def _finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        self.ledger.finish(job, state, result, reason)
        if job.kind == TRIAL:
            values = (float(result["score"]), float(result["guide_cost"])) if state == "complete" else None
            self.state.outcomes[job.number] = Outcome(values)
        elif job.kind == RETEST:
            self.state.finished_retests.add(job.number)
        else:
            self.state.reference_done = True
        self.listen("end", job, {"state": state, "reason": reason, **result})
