"""A row of the table: one evaluation, decided in one write and ended in one more. Plain values that any process can be sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ANCHOR, REFERENCE, TRIAL, RETEST, RATE, STEP_TIME, HELD_OUT, RIVAL, RIVAL_HELD_OUT = (
    "anchor", "reference", "trial", "retest", "learning-rate", "step-time", "held-out", "rival", "rival-held-out",
)  # fmt: skip
"""What an evaluation is for: the step time of the anchor model; the reference model; a candidate of the search; the same with another
seed; with another learning rate; its step time alone; with another seed on images that the search never saw; a network of another
family, trained and timed like the candidates; the same with the finalists' seeds on the images that the search never saw."""
NETWORK = "network"
"""What a rival's candidate, or an experiment's arm, is said by: its notation, for it has no dials."""
ARM, STEP_TIMES = "arm", "step-times"
"""Of an experiment: an arm trained with a seed; the step times of several arms in the same rounds."""
RECIPE, NETWORKS = "recipe", "networks"
"""What an arm changes of the recipe; the networks by arm that are timed together."""
COMPLETE, PRUNED, INFEASIBLE, FAILED, RUNNING = "complete", "pruned", "infeasible", "failed", "running"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One row.

    Decided with: `id`, its place in the table; `kind`; the `candidate`'s dials and exact `costs`; `trial`, the candidate's place in the
    search, or a rival's among the rivals (-1: none); `rung`, the index of the rung to reach (-1: the last); `seed`, `repeat` and
    `rate` (a factor on the learning rate), in which repeats of a trial differ; `after`, the row whose training it goes on from;
    `known`, how many rows of the search, in their order, the decision was allowed to see.

    Ended with: `state` ("pruned" is a training that ended below the last rung), `result`, `reason` where it is not complete, and
    `runs`, how often it was begun by the driver that saw it end (a start before that driver counts once).
    """

    id: int
    kind: str
    candidate: dict[str, Any]
    costs: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    trial: int = -1
    rung: int = -1
    repeat: int = 1
    rate: float = 1.0
    after: int | None = None
    known: int = 0
    state: str = RUNNING
    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    runs: int = 0

    @property
    def key(self) -> str:
        """Its name, fit for a file; all rungs of a trial share it, and with it their checkpoint."""
        if self.trial < 0:
            return self.kind
        return f"{self.kind}-{self.trial}" + ("" if self.repeat == 1 else f"-{self.repeat}")

    @property
    def repeats(self) -> tuple[str, int, int]:
        """What tells it from every other row but the rungs of the same trial: kind, trial, repeat."""
        return self.kind, self.trial, self.repeat

    @property
    def scores(self) -> tuple[float, ...] | None:
        """Its scores by rung; None where it has none."""
        if self.state not in (COMPLETE, PRUNED) or "scores" not in self.result:
            return None
        return tuple(float(rung["score"]) for rung in self.result["scores"])
