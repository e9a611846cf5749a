"""Move after move, evaluated and recorded, whatever happens to those who run them.

A study has four parts: candidates drawn evenly; checks of the proxy on these; the search; the last word on the finalists. The
loop knows nothing of costs or training: jobs go to `workers`, results come back, records are written by `Ledger`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from halosearch.run.jobs import (
    BROKEN,
    DIED,
    DONE,
    PROGRESS,
    REFERENCE,
    STOPPED,
    TRIAL,
    Event,
    Job,
    MachineFaultError,
    Workers,
)
from halosearch.search.sampler import Outcome
from halosearch.search.schedule import Move, Schedule

MAX_RUNS = 3
"""A job whose worker died this many times without getting further in between is given up."""
MAX_ENDS = 20
"""And so is one that ended without a result this many times, whatever the cause."""
POLL_S = 0.25


class Ledger(Protocol):
    """Where the loop writes."""

    def move(self, move: Move) -> None:
        """Record a decision: a new running trial, or a trial that goes on."""
        ...

    def begin_run(self, job: Job) -> int:
        """Count a start; returns which run of the job this is."""
        ...

    def pause(self, job: Job, result: dict[str, Any]) -> None:
        """Record what a trial has come to at a rung below the top."""
        ...

    def finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        """Record the end of a job."""
        ...

    def prune(self, trials: list[int]) -> None:
        """Record that these paused trials are not to go on."""
        ...


@dataclass(slots=True)
class State:
    """What is known at the start: moves so far, outcomes by move, trials stopped for good, keys of other jobs that have ended."""

    moves: list[Move] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)


Listener = Callable[[str, Job, dict[str, Any]], None]
"""Told of every start, progress, pause, end, failure and requeue, for the terminal."""


def _no_jobs(outcomes: dict[int, Outcome]) -> list[Job]:
    del outcomes
    return []


@dataclass(frozen=True, slots=True)
class Parts:
    """What surrounds the search.

    Args:
        seed: of all trials.
        reference: dials of the reference model, or None.
        checks: jobs that the outcomes so far of the evenly drawn trials (by trial number) ask for; the same list, or a longer
            one, whenever it is asked.
        gate: asked once, when all checks have ended and before the first searched candidate: may the search begin?
        finals: jobs that the ended search asks for.
    """

    seed: int
    reference: dict[str, Any] | None = None
    checks: Callable[[dict[int, Outcome]], list[Job]] = _no_jobs
    gate: Callable[[], bool] = lambda: True
    finals: Callable[[], list[Job]] = list


@dataclass(slots=True)
class _Lives:
    """What became of a job's runs: ends without a result, deaths that count, images reached at most, and at the last death."""

    ends: int = 0
    deaths: int = 0
    reached: int = 0
    died_at: int = -1


@dataclass(slots=True)
class Loop:
    """One run of a study.

    Args:
        parts, schedule, state, workers, ledger: see their types.
        dials: the dials of a row of the pool.
        may_dispatch: false once time is up or a stop was asked for. stop_now: true once running jobs should stop too.
        listen: told what happens. watch: told again and again how many jobs run.
    """

    parts: Parts
    schedule: Schedule
    state: State
    workers: Workers
    ledger: Ledger
    dials: Callable[[int], dict[str, Any]]
    may_dispatch: Callable[[], bool]
    stop_now: Callable[[], bool]
    listen: Listener
    watch: Callable[[int], None] = lambda _: None
    refused: bool = False
    _queue: deque[Job] = field(default_factory=deque)
    _running: dict[str, Job] = field(default_factory=dict)
    _lives: defaultdict[str, _Lives] = field(default_factory=lambda: defaultdict(_Lives))
    _open: bool = False
    _complete: bool = False
    _stopping: bool = False

    def run(self) -> bool:
        """Run until all is done, or until dispatch ends and what runs has finished. True if nothing is left to do.

        Raises:
            MachineFaultError: the machine (a full disk) keeps the study from going on.
        """
        self._replay()
        while True:
            self.watch(len(self._running))
            if self.stop_now() and not self._stopping:
                self._stopping = True
                self.workers.stop()
            if self.may_dispatch() and not self._stopping:
                self._dispatch()
            ended = self._complete or self.refused or self._stopping or not self.may_dispatch()
            if not self._running and ended:
                return self._complete
            for event in sorted(self.workers.poll(POLL_S), key=lambda event: event.kind == BROKEN):
                self._handle(event)

    def _replay(self) -> None:
        """Bring the schedule to where the record is; queue what was running when the last run ended."""
        if self.parts.reference is not None and REFERENCE not in self.state.finished:
            self._queue.append(Job(REFERENCE, -1, self.parts.reference, self.parts.seed))
        for move in self.state.moves:
            self.schedule.replay(move, self.state.outcomes)
            if move.number not in self.state.outcomes:
                self._queue.append(self._trial(move))
        for trial in sorted(self.state.pruned):
            self.schedule.stop_trial(trial)

    def _trial(self, move: Move) -> Job:
        return Job(TRIAL, move.trial, self.dials(move.row), self.parts.seed, move.rung, move.number)

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
        if self.schedule.in_uniform_part:
            return self._next_move()
        if not self._open:
            return self._next_check()
        if not self.schedule.finished:
            job = self._next_move()
            if job is not None or not self.schedule.finished:
                return job
        return self._next_final()

    def _next_move(self) -> Job | None:
        move = self.schedule.next(self.state.outcomes)
        if move is None:
            return None
        self.ledger.move(move)
        return self._trial(move)

    def _next_check(self) -> Job | None:
        """A check; once none is left, whether the search may begin."""
        job = self._first_left(self.parts.checks(self._uniform_outcomes()))
        if job is not None or self._running:
            return job
        self._open = self.schedule.begun_to_search or self.parts.gate()
        self.refused = not self._open
        return self._next_job() if self._open else None

    def _uniform_outcomes(self) -> dict[int, Outcome]:
        moves = self.schedule.moves[: self.schedule.shape.uniform]
        return {m.trial: self.state.outcomes[m.number] for m in moves if m.number in self.state.outcomes}

    def _next_final(self) -> Job | None:
        """The last word, once every trial has ended or is stopped for good."""
        if any(job.kind == TRIAL for job in self._running.values()):
            return None
        waiting = [t for t in self.schedule.waiting(self.state.outcomes) if t not in self.state.pruned]
        if waiting:
            self.ledger.prune(waiting)
            self.state.pruned.update(waiting)
            for move in self.schedule.moves:
                if move.trial in waiting and move.rung == self.schedule.rung_of(move.trial):
                    self.listen("end", self._trial(move), {"state": "pruned", "reason": "not among those that go on"})
        job = self._first_left(self.parts.finals())
        self._complete = job is None and not self._running
        return job

    def _first_left(self, jobs: list[Job]) -> Job | None:
        return next((job for job in jobs if job.key not in self.state.finished and job.key not in self._running), None)

    def _handle(self, event: Event) -> None:
        job = event.job
        if event.kind == PROGRESS:
            lives = self._lives[job.key]
            lives.reached = max(lives.reached, int(event.result.get("images", 0)))
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
            self._requeue(job, event.reason, blameless=event.blameless)

    def _requeue(self, job: Job, reason: str, *, blameless: bool) -> None:
        lives = self._lives[job.key]
        lives.ends += 1
        if not blameless:  # a job that got further than the last time is no worse than at its first death
            lives.deaths = 1 if lives.reached > lives.died_at else lives.deaths + 1
            lives.died_at = lives.reached
        if lives.deaths >= MAX_RUNS or lives.ends >= MAX_ENDS:
            self._finish(job, "failed", {}, f"{reason}, {lives.ends} times")
        else:
            self._queue.appendleft(job)
            self.listen("requeued", job, {"reason": reason})

    def _finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        paused = job.kind == TRIAL and state == "complete" and 0 <= job.rung < self.schedule.shape.top
        if paused:
            self.ledger.pause(job, result)
        else:
            self.ledger.finish(job, state, result, reason)
        if job.kind == TRIAL:
            scores = tuple(float(score) for score in result["rung_scores"]) if state == "complete" else None
            self.state.outcomes[job.move] = Outcome(scores, float(result.get("guide_cost", 1.0)))
        else:
            self.state.finished.add(job.key)
        self.listen("pause" if paused else "end", job, {"state": state, "reason": reason, **result})
