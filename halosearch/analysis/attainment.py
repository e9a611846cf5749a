"""How sure a front is when its scores are noisy: P(candidate on the front) and a band instead of one line.

A measured score is the candidate's true score plus noise; the true scores spread around their mean. So what is drawn, many times,
is the true score given the measured one (normal, shrunk towards the mean by the share of the variance that is noise): drawing
noise around the measured scores themselves would count it twice, and call the luckiest candidate the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 2000
BAND = (5, 50, 95)


@dataclass(frozen=True, slots=True)
class Attainment:
    """`on_front`: probability per candidate, in the order given. `band`: (cost, 5 %, median, 95 % of the best score up to it)."""

    draws: int
    on_front: tuple[float, ...]
    band: tuple[tuple[float, float, float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"draws": self.draws, "on_front": list(self.on_front), "band": [list(point) for point in self.band]}


def true_scores(scores: Sequence[float], seeds: Sequence[int], noise: float, draws: int = DRAWS) -> np.ndarray:
    """Draws (draws, n) of true scores, given means over `seeds` runs each and the noise of one run."""
    mean, error = np.asarray(scores, dtype=float), noise**2 / np.asarray(seeds, dtype=float)
    centre = float(mean.mean())
    spread = max(float(np.var(mean, ddof=1)) - float(error.mean()), 0.0) if len(mean) > 1 else 0.0
    if spread + noise == 0:
        return np.tile(mean, (draws, 1))
    weight = spread / (spread + error) if noise else np.ones_like(mean)
    rng = np.random.default_rng(0)
    normal: np.ndarray = rng.standard_normal((draws, len(mean)))
    return np.asarray(centre + weight * (mean - centre) + np.sqrt(weight * error) * normal)


def attainment(
    scores: Sequence[float], costs: Sequence[float], seeds: Sequence[int], noise: float, draws: int = DRAWS
) -> Attainment:
    """Front probabilities and band of candidates with known costs and noisy scores (at least one)."""
    drawn, cost = true_scores(scores, seeds, noise, draws), np.asarray(costs, dtype=float)
    order = np.lexsort((np.arange(len(cost)), cost))
    best = np.maximum.accumulate(drawn[:, order], 1)
    before = np.concatenate([np.full((draws, 1), -np.inf), best[:, :-1]], 1)
    tied = cost[order][:, None] == cost[order][None]
    on_front = np.empty(len(cost))
    for place, index in enumerate(order):
        rivals = drawn[:, order[tied[place]]].max(1)  # of equal cost, only the best is on the front
        first = int(np.argmax(tied[place]))
        on_front[index] = np.mean((drawn[:, index] >= rivals) & (drawn[:, index] > before[:, first]))
    quantiles = np.percentile(best, BAND, axis=0)
    band = tuple((float(cost[index]), *(float(q) for q in quantiles[:, place])) for place, index in enumerate(order))
    return Attainment(draws, tuple(map(float, on_front)), band)  # type: ignore[arg-type]
