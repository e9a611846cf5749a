"""The joint region of E and alpha: which pairs the data does not refuse. Over less than two decades of sizes it is a long valley."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from halosearch.analysis.scaling_law import Law, Losses, fitted_with, limit_of

POINTS = 25


def joint_region(data: Losses, law: Law) -> dict[str, Any] | None:
    """Huber cost over a grid of E and alpha, the rest fitted anew, as the F ratio's share of its 95 % limit (1 and less is inside).

    None for a law without alpha, or of too few runs.
    """
    found = law.coefficients()
    if "alpha" not in found:
        return None
    levels = np.linspace(0.0, min(float(data.loss_R.min()), 2 * found["E"] + 0.1 * float(data.loss_R.min())), POINTS)
    exponents = np.geomspace(max(0.02, found["alpha"] / 5), min(3.0, 4 * found["alpha"]), POINTS)
    limit = limit_of(data, law, 2)
    if limit is None or limit <= law.cost:
        return None
    costs, first = np.empty((POINTS, POINTS)), None
    for i, level in enumerate(levels):
        values = first
        for j, alpha in enumerate(exponents):  # from the neighbour's fit it is near
            values, costs[i, j] = fitted_with(data, law, math.log(max(level, 1e-9)), alpha, values)
            first = values if j == 0 else first
    share = (costs - law.cost) / (limit - law.cost)
    return {"E": levels.tolist(), "alpha": exponents.tolist(), "share": share.tolist()}
