"""How the best shapes of several budgets scale: slopes of ln dial over ln of a cost (Theil-Sen), with ranges by drawing shapes and seeds anew.

The best shape of a budget is chosen by the scores of half of its seeds and scored by the other half: the score that chose it is too high.

Shape suffixes: A arms, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import theilslopes

from halosearch.errors import UsageError

DRAWS = 400
PARAMS, STEP_TIME = "params", "step_time_s"
"""What dials scale with."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An arm of a ladder: its budget, its exact parameters, its dials as numbers, its scores by seed at the longest training.

    `step_time_s`: the measured training step of the full network, where the ladder timed it.
    """

    name: str
    budget: int
    params: int
    dials: Mapping[str, float]
    scores: Mapping[int, float]
    step_time_s: float | None = None

    def cost(self, name: str) -> float | None:
        """Parameters or step time."""
        return self.params if name == PARAMS else self.step_time_s


def best_by_budget(shapes: Sequence[Shape], seeds: Sequence[int]) -> list[Shape]:
    """Of every budget the shape with the best mean over these seeds (those that it has), by rising budget."""
    found: dict[int, tuple[float, Shape]] = {}
    for shape in shapes:
        scores = [shape.scores[seed] for seed in seeds if seed in shape.scores]
        if scores and (shape.budget not in found or np.mean(scores) > found[shape.budget][0]):
            found[shape.budget] = (float(np.mean(scores)), shape)
    return [found[budget][1] for budget in sorted(found)]


def seeds_of(shapes: Sequence[Shape]) -> list[int]:
    """The seeds that any shape has a score of, ascending."""
    return sorted({seed for shape in shapes for seed in shape.scores})


def slopes(
    shapes: Sequence[Shape], published: Sequence[Shape], seed: int = 0, *, cost: str = PARAMS
) -> list[dict[str, Any]]:
    """For every dial the slope over the best shapes and its range (95 %) over shapes and seeds drawn anew; on parameters or step time.

    The range is an indication: of a handful of shapes at each budget a bootstrap knows no others.

    Beside it the slope over `published` members of the family.

    Dials of which a value is nought at some budget have no logarithm and are left out.
    """
    shapes = [shape for shape in shapes if shape.cost(cost) is not None]
    seeds = sorted({each for shape in shapes for each in shape.scores})
    best = best_by_budget(shapes, seeds)
    if len(best) < 3:
        return []
    rng = np.random.default_rng(seed)
    drawn = [best_by_budget(_redrawn(shapes, rng), rng.choice(seeds, len(seeds)).tolist()) for _ in range(DRAWS)]
    found = []
    for dial in best[0].dials:
        if any(shape.dials[dial] <= 0 for each in (best, *drawn) for shape in each):
            continue
        values = [_slope(each, dial, cost) for each in drawn if len(each) >= 3]
        low, high = np.quantile(values, [0.025, 0.975])
        found.append(
            {
                "dial": dial,
                "slope": _slope(best, dial, cost),
                "low": float(low),
                "high": float(high),
                "published": _of_members(published, dial, cost),
            }
        )
    return found


def _redrawn(shapes: Sequence[Shape], rng: np.random.Generator) -> list[Shape]:
    """As many shapes of every budget, drawn from its own with replacement: which shapes were tried decides as much as the seeds."""
    found: list[Shape] = []
    for budget in sorted({shape.budget for shape in shapes}):
        own = [shape for shape in shapes if shape.budget == budget]
        found += [own[int(n)] for n in rng.integers(len(own), size=len(own))]
    return found


def _of_members(members: Sequence[Shape], dial: str, cost: str) -> float | None:
    known = [shape for shape in members if shape.dials.get(dial, 0) > 0 and shape.cost(cost) is not None]
    return _slope(known, dial, cost) if len(known) >= 3 else None


def _slope(best: Sequence[Shape], dial: str, cost: str = PARAMS) -> float:
    x = [math.log(shape.cost(cost) or math.nan) for shape in best]
    return float(theilslopes([math.log(shape.dials[dial]) for shape in best], x).slope)


def extrapolated(shapes: Sequence[Shape], params: int) -> dict[str, float]:
    """The dials of the best shapes carried on to more parameters: their medians, moved along the slopes."""
    seeds = sorted({each for shape in shapes for each in shape.scores})
    best = best_by_budget(shapes, seeds)
    if not best:
        raise UsageError("the ladder has no training that ended yet", "let it run on first")
    middle = math.exp(float(np.mean([math.log(shape.params) for shape in best])))
    found = {}
    for dial in best[0].dials:
        values = [shape.dials[dial] for shape in best]
        if min(values) <= 0:
            found[dial] = float(np.median(values))
            continue
        ends = math.exp(float(np.mean([math.log(value) for value in values])))
        found[dial] = ends * (params / middle) ** _slope(best, dial)
    return found
