"""Expected hypervolume improvement, exact: one uncertain score (larger is better) against costs (smaller is better).

The costs' axes are cut at the costs of the front. In each of the resulting boxes the best score so far is one number F, so a
row (score ~ N(mean, sd), cost c) is expected to add the sum over boxes of (part of the box at or above c) x E[(score - F)+].
With one known cost this is a sum of expected improvements over the staircase. A cost that is itself uncertain, independent of
the score, enters by the expected part of the box, which is exact too.
"""

from __future__ import annotations

from dataclasses import dataclass

import moocore
import numpy as np
from scipy.special import ndtr

ROOT_2PI = (2 * np.pi) ** 0.5
ROWS_AT_A_TIME = 8192


@dataclass(frozen=True, slots=True)
class Front:
    """Scores (n,) and costs (n, k) of what is known, dominated rows allowed; the reference point that volume is measured from."""

    scores: np.ndarray
    costs: np.ndarray
    reference_score: float
    reference_costs: np.ndarray


def expected_excess(level: np.ndarray | float, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E[(X - level)+] of normal X; where sd is 0, of the number itself."""
    gap = mean - level
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, gap / np.where(sd > 0, sd, 1.0), 0.0)
    smooth = gap * ndtr(z) + sd * np.exp(-0.5 * z * z) / ROOT_2PI
    return np.where(sd > 0, np.maximum(smooth, 0.0), np.maximum(gap, 0.0))


def expected_hypervolume_improvement(
    mean: np.ndarray, sd: np.ndarray, costs: np.ndarray, front: Front, cost_sd: np.ndarray | None = None
) -> np.ndarray:
    """Expected gain in volume of every row, (m,).

    Args:
        mean: of the rows' scores, (m,).
        sd: standard deviations of these, (m,).
        costs: (m, k); means where `cost_sd` is given. k may be 0: then this is the expected improvement.
        front: what is to be improved on.
        cost_sd: (m, k), 0 for known costs; None where all are known.
    """
    inside = (front.scores > front.reference_score) & (front.costs < front.reference_costs).all(1)
    scores, known = _undominated(front.scores[inside], front.costs[inside])
    edges = [
        np.concatenate([[-np.inf], np.unique(known[:, axis]), [front.reference_costs[axis]]])
        for axis in range(costs.shape[1])
    ]
    boxes = _Boxes(edges, scores, known, front.reference_score)
    spread = np.zeros_like(costs) if cost_sd is None else cost_sd
    out = np.empty(len(mean))
    for start in range(0, len(mean), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        sides = [_overlaps(costs[part, axis], spread[part, axis], cuts) for axis, cuts in enumerate(edges)]
        out[part] = boxes.total(sides, mean[part], sd[part], np.ones(len(scores), dtype=bool))
    return out


def _undominated(scores: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Only these cut the axes: dominated points would add boxes and change nothing."""
    if not len(scores):
        return scores, costs
    keep = moocore.is_nondominated(np.column_stack([-scores, costs]))
    return scores[keep], costs[keep]


def _overlaps(cost: np.ndarray, sd: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Expected length of every interval between cuts that lies above the cost, (intervals, m)."""
    below = np.stack([expected_excess(-cut, -cost, sd) for cut in cuts[1:]])
    return np.diff(below, axis=0, prepend=np.zeros((1, len(cost))))


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes into which the undominated points cut the axes of cost: `edges` by axis; `scores` and costs `known` of the points."""

    edges: list[np.ndarray]
    scores: np.ndarray
    known: np.ndarray
    reference: float

    def total(self, sides: list[np.ndarray], mean: np.ndarray, sd: np.ndarray, reached: np.ndarray) -> np.ndarray:
        """Sum over the boxes of the axes that are left; `reached` are the points whose costs on the others lie at or below the box."""
        axis = self.known.shape[1] - len(sides)
        if not sides:
            return expected_excess(max([self.reference, *self.scores[reached]]), mean, sd)
        total = np.zeros(len(mean))
        for i, side in enumerate(sides[0]):
            if side.any():
                here = reached & (self.known[:, axis] <= self.edges[axis][i])
                total += side * self.total(sides[1:], mean, sd, here)
        return total
