"""Laws that are sums of positive terms, fitted to the logarithm of what was measured: polish, robust cost, intervals by profile.

Huber's loss on residuals of ln L; intervals are all values of a parameter with which the others can still fit so well that an F test at
5 % does not refuse it (Bates and Watts, Nonlinear Regression Analysis, 1988, section 6.1).

Shape suffixes: R rows, T terms, V values of the law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import brentq, least_squares
from scipy.stats import f as f_distribution

HUBER = 1.345
"""Residuals beyond so many standard deviations count by their size, not its square (95 % efficient where noise is normal)."""
NOTHING = 1e-12
"""What a coefficient that may be nought is at least: its logarithm is fitted."""
LOWEST, HIGHEST = 1e-4, 5.0
"""Bounds of an exponent."""


class LogSum(Protocol):
    """A law at the rows of a data set: ln L = ln sum over T of exp(terms). `lowest`, `highest`: bounds of its values."""

    @property
    def lowest(self) -> np.ndarray:
        """Lower bounds."""

    @property
    def highest(self) -> np.ndarray:
        """Upper bounds."""

    def terms(self, values_V: np.ndarray) -> np.ndarray:
        """Logarithms of the terms, (T, R)."""

    def slopes(self, values_V: np.ndarray) -> np.ndarray:
        """Of every term by every value, (T, R, V)."""


def log_loss(law: LogSum, values_V: np.ndarray) -> np.ndarray:
    """Ln L at every row."""
    found: np.ndarray = np.logaddexp.reduce(law.terms(values_V), 0)
    return found


def jacobian(law: LogSum, values_V: np.ndarray) -> np.ndarray:
    """Of ln L by every value, (R, V)."""
    terms = law.terms(values_V)
    shares = np.exp(terms - np.logaddexp.reduce(terms, 0))
    found: np.ndarray = np.einsum("tr,trv->rv", shares, law.slopes(values_V))
    return found


def polish(
    law: LogSum, start_V: np.ndarray, target_R: np.ndarray, delta: float, fixed: tuple[int, ...] = ()
) -> tuple[np.ndarray, float]:
    """Values of least Huber loss from a start, the values `fixed` kept; with the loss. `delta`: in ln L, infinite for squares."""
    free = np.array([n for n in range(len(start_V)) if n not in fixed], dtype=int)
    if not len(free):
        return start_V, huber(log_loss(law, start_V) - target_R, delta)
    low, high = law.lowest[free], law.highest[free]

    def whole(x: np.ndarray) -> np.ndarray:
        values = start_V.copy()
        values[free] = x
        return values

    options: dict[str, Any] = {} if math.isinf(delta) else {"loss": "huber", "f_scale": delta}
    found = least_squares(
        lambda x: log_loss(law, whole(x)) - target_R,
        np.clip(start_V[free], low + 1e-9, high - 1e-9),
        lambda x: jacobian(law, whole(x))[:, free],
        (low, high),
        x_scale="jac", max_nfev=200, ftol=1e-10, xtol=1e-10, **options,
    )  # fmt: skip
    return whole(found.x), 2 * float(found.cost)


def huber(residuals: np.ndarray, delta: float) -> float:
    """Twice Huber's loss, summed."""
    size = np.abs(residuals)
    return float(np.where(size <= delta, size**2, 2 * delta * size - delta**2).sum())


def fit_robustly(
    law: LogSum, starts: Sequence[np.ndarray], target_R: np.ndarray, delta: float | None
) -> tuple[np.ndarray, float, float]:
    """Values, Huber cost and delta. `delta` None: 1.345 of the robust deviation of what least squares leave."""
    if delta is None:
        rough = min((polish(law, start, target_R, math.inf) for start in starts), key=lambda each: each[1])
        residuals = np.abs(log_loss(law, rough[0]) - target_R)
        free = max(1, len(target_R) - len(rough[0])) / len(target_R)
        delta = max(HUBER * 1.4826 * float(np.median(residuals)) / math.sqrt(free), 1e-9)
        starts = [rough[0]]
    values, cost = min((polish(law, start, target_R, delta) for start in starts), key=lambda each: each[1])
    return values, cost, delta


def cost_limit(cost: float, runs: int, fitted: int, given: int) -> float | None:
    """The Huber cost at which an F test at 5 % refuses so many `given` values of a law with `fitted`; None where runs are too few.

    Rows of one run may vary together: only runs are counted as independent, as if all its rows said the same.
    """
    freedom = runs - fitted
    if freedom < 1:
        return None
    return float(cost * (1 + given * f_distribution.ppf(0.95, given, freedom) / freedom))


@dataclass(frozen=True, slots=True)
class Profile:
    """A law at its best values, whose profiles are asked for. `limit`: the cost that is refused."""

    law: LogSum
    best_V: np.ndarray
    target_R: np.ndarray
    delta: float
    limit: float

    def ends(self, place: int, *, first: float) -> tuple[float | None, float | None]:
        """Both ends of the interval of a value; None where the data does not hold it. `first`: the first step away from the best."""
        low, high = (self._end(place, sign * first) for sign in (-1.0, 1.0))
        return low, high

    def _cost(self, place: int, x: float, start_V: np.ndarray) -> tuple[np.ndarray, float]:
        changed = start_V.copy()
        changed[place] = x
        return polish(self.law, changed, self.target_R, self.delta, (place,))

    def _end(self, place: int, step: float) -> float | None:
        """Where the profile crosses the limit, to one side of the best value: by steps that double, then by halves."""
        start = within = self.best_V
        inside = float(start[place])
        for _ in range(24):
            bound = self.law.lowest[place] if step < 0 else self.law.highest[place]
            outside = inside + step
            at_bound = outside <= bound if step < 0 else outside >= bound
            if at_bound:
                outside = float(bound)
            start, cost = self._cost(place, outside, start)
            if cost > self.limit:
                break
            if at_bound:
                return None
            inside, step, within = outside, 2 * step, start
        else:
            return None

        def above(x: float) -> float:
            """Cost above the limit, of the better of the fits that begin from either side: one alone may end in a worse optimum."""
            if x == inside:
                return -self.limit  # below it, as was found
            if x == outside:
                return cost - self.limit
            from_there = self._cost(place, x, start)[1]
            return (
                from_there if from_there < self.limit else min(from_there, self._cost(place, x, within)[1])
            ) - self.limit

        found: float = brentq(above, inside, outside, xtol=1e-4 * abs(step), rtol=1e-6, maxiter=30, disp=False)
        return found
