"""Decisions and results of a study, as its loop meets them, into the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from halosearch.record.store import Store, Trial
from halosearch.run.jobs import REFERENCE, TRIAL, Job
from halosearch.search.candidates import row_costs
from halosearch.search.pool import Pool
from halosearch.search.schedule import Move


@dataclass(slots=True)
class StudyLedger:
    """Writes what the loop decides; refreshes the report when the front gains a member."""

    store: Store
    pool: Pool
    nearest_to: str
    rungs: tuple[int, ...]
    refresh: Callable[[Trial], None]

    def move(self, move: Move) -> None:
        """Record a decision in one write."""
        written = (move.number, move.rung, move.known)
        if move.trial < self.store.count():
            self.store.promote(move.trial, written)
        else:
            costs = row_costs(self.pool.rows, move.row)
            self.store.propose(self.pool.params(move.row), costs, self.pool.distributions, written)

    def begin_run(self, job: Job) -> int:
        """Count a start."""
        return self.store.begin_run(job.number, job.rung) if job.kind == TRIAL else 1

    def pause(self, job: Job, result: dict[str, Any]) -> None:
        """Record a rung."""
        self.store.pause(job.number, self._whole(job, result))

    def prune(self, trials: list[int]) -> None:
        """End the trials that do not go on."""
        for number in trials:
            images = self.rungs[self.store.trial(number).moves[-1][1]]
            self.store.prune(number, f"stopped after {images:,} images: not among those that go on")

    def finish(self, job: Job, state: str, result: dict[str, Any], reason: str) -> None:
        """Record the end of a trial, of one of its repeats, or of the reference model."""
        kept = _kept(result)
        if job.kind == TRIAL:
            self.store.finish(job.number, state, self._whole(job, result), reason)
            self.refresh(self.store.trial(job.number))
        elif job.kind == REFERENCE:
            self.store.note(
                REFERENCE,
                {"state": state, "reason": reason, "dials": job.dials, "nearest_to": self.nearest_to, "result": kept},
            )
        else:
            self.store.note(
                job.key, {"state": state, "reason": reason, "seed": job.seed, "rate": job.rate, "result": kept}
            )

    def _whole(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        """A trial's result with what its earlier rungs took beside training (training is counted through the checkpoint)."""
        kept, before = _kept(result), self.store.trial(job.number).result
        if "seconds" in kept:
            kept["seconds"] += float(before.get("seconds", 0.0)) - float(before.get("train_seconds", 0.0))
        return kept


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("state", "reason", "rung_scores")}
