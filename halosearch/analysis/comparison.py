"""Do two fronts differ by more than the noise of their scores?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halosearch.analysis.attainment import true_scores

DRAWS = 2000
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Front:
    """Complete trials of a study: mean scores over `seeds` runs each, costs, and the standard deviation of one score."""

    scores: Sequence[float]
    costs: Sequence[float]
    seeds: Sequence[int]
    noise: float


def hypervolumes(front: Front, worst_cost: float, draws: int = DRAWS) -> np.ndarray:
    """Hypervolume (score above 0 x ln cost below `worst_cost`) of the true scores, drawn `draws` times given the measured ones."""
    costs = np.asarray(front.costs, dtype=float)
    order = np.argsort(costs, kind="stable")
    drawn = true_scores(front.scores, front.seeds, front.noise, draws)[:, order]
    best = np.maximum(np.maximum.accumulate(drawn, 1), 0.0)
    edges = np.log(np.minimum(np.append(costs[order], worst_cost), worst_cost))
    return np.asarray(best @ np.diff(edges))


def difference(first: Front, second: Front) -> dict[str, float]:
    """First minus second hypervolume, from one reference: median and 95 % interval over draws of both fronts' true scores."""
    worst = 1.1 * max(max(first.costs), max(second.costs))
    ours = hypervolumes(first, worst)
    theirs = np.random.default_rng(1).permutation(
        hypervolumes(second, worst)
    )  # both draw from the same stream: unpair them
    low, high = np.percentile(ours - theirs, INTERVAL)
    return {"median": float(np.median(ours - theirs)), "low": float(low), "high": float(high), "draws": float(DRAWS)}
