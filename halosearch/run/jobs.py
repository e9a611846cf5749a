"""What passes between the loop and whoever evaluates: jobs in, events out. Plain values that any process can be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

TRIAL, RETEST, REFERENCE, RATE, FINAL, CLOCK = "trial", "retest", "reference", "rate", "final", "clock"
PROGRESS, DONE, STOPPED, DIED, BROKEN, READY = "progress", "done", "stopped", "died", "broken", "ready"


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation. `kind` says what it is for.

    A trial runs up to the rung with index `rung` (-1: the last). All other kinds repeat the trial `number` in another way, told
    apart by `repeat`: a retest with another seed, a rate with another learning rate, a final with another seed on held-out images.
    The clock is no training: it measures the yardstick of step times.
    """

    kind: str
    number: int
    dials: dict[str, Any]
    seed: int
    rung: int = -1
    move: int = -1
    repeat: int = 1
    rate: float = 1.0

    @property
    def key(self) -> str:
        """Name of the job, unique in a study, fit for a file; all rungs of a trial share it, and with it their checkpoint."""
        if self.kind in (REFERENCE, CLOCK):
            return self.kind
        return f"{self.kind}-{self.number}" + ("" if self.repeat == 1 else f"-{self.repeat}")


NOBODY = Job("", -1, {}, 0)
"""Stands where news is of no job."""


@dataclass(frozen=True, slots=True)
class Event:
    """News of a job: progress (images, total, loss), its result, that it was stopped, that its worker died or the machine is at fault.

    `blameless`: the worker died of something that no job can cause (the cluster went away, or it had not come to the job yet).
    """

    kind: str
    job: Job
    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    blameless: bool = False


class World(Protocol):
    """What an evaluation may see of the study around it."""

    def should_stop(self) -> bool:
        """Whether to write a checkpoint and stop."""
        ...

    def report(self, images: int, total: int, loss: float) -> None:
        """Say how far it is."""
        ...


Evaluate = Callable[[Job, World], dict[str, Any]]
"""Gives {"state": ..., "reason": ..., and measurements}; raises StoppedError when the world asked it to stop."""


class StoppedError(Exception):
    """The evaluation stopped because it was asked to; it can be resumed."""


class MachineFaultError(Exception):
    """The evaluation cannot go on because of the machine (a full disk), not of the candidate."""


class Workers(Protocol):
    """Whoever runs jobs: local processes here, other engines elsewhere."""

    @property
    def capacity(self) -> int:
        """How many jobs can run at once; it may change as machines join and leave."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job; call only while fewer than `capacity` run."""
        ...

    def poll(self, timeout_s: float) -> list[Event]:
        """News since the last call, waiting at most `timeout_s` for the first."""
        ...

    def stop(self) -> None:
        """Ask all jobs to stop at their next step."""
        ...

    def close(self) -> None:
        """End every process at once."""
        ...
