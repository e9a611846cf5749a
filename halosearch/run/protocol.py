"""What passes between the driver and whoever evaluates: rows in, events out. Plain values that any process can be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from halosearch.record.evaluation import Evaluation

PROGRESS, DONE, STOPPED, DIED, BROKEN, READY = "progress", "done", "stopped", "died", "broken", "ready"
NOBODY = Evaluation(-1, "", {})
"""Stands where news is of no row."""


@dataclass(frozen=True, slots=True)
class Event:
    """News of a row: progress (images, total, loss), its result, that it was stopped, that its worker died or the machine is at fault.

    `blameless`: the worker died of something that no evaluation can cause (the cluster went away, or it had not come to it yet).
    """

    kind: str
    row: Evaluation
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


Evaluate = Callable[[Evaluation, World], dict[str, Any]]
"""Gives {"state": ..., "reason": ..., and measurements}; raises StoppedError when the world asked it to stop."""


class StoppedError(Exception):
    """The evaluation stopped because it was asked to; it can be resumed."""


class MachineFaultError(Exception):
    """The evaluation cannot go on because of the machine (a full disk), not of the candidate."""


class ProcessBrokenError(Exception):
    """The process of an evaluation can evaluate nothing more (its GPU context is broken); a fresh one may."""


class Workers(Protocol):
    """Whoever evaluates: local processes here, Ray or Ray Tune elsewhere."""

    @property
    def capacity(self) -> int:
        """How many rows can be evaluated at once; it may change as machines join and leave."""
        ...

    def submit(self, row: Evaluation) -> None:
        """Start an evaluation; call only while fewer than `capacity` run."""
        ...

    def poll(self, timeout_s: float) -> list[Event]:
        """News since the last call, waiting at most `timeout_s` for the first."""
        ...

    def stop(self) -> None:
        """Ask all evaluations to stop at their next step."""
        ...

    def close(self) -> None:
        """End every process at once."""
        ...
