"""How the best value of one dial moves with compute: f(x, t) = alpha x^-a + (beta x^b + xi) t^-c + epsilon.

The form of Alabdulmohsin et al. (arXiv:2305.13035, equation 1): at every compute t the loss falls with the dial x until a best value, and
rises beyond; the best value x*(t) = (a alpha t^c / (b beta))^(1/(a+b)) grows as t^s with s = c / (a + b), which is what is asked. It is
fitted with s in the place of c, so that s has an interval by profile of its own.

Fitted to the logarithm of the loss; exponents on a grid, non-negative least squares for the rest inside, the best starts polished.

Shape suffixes: R rows, V the law's seven values: ln epsilon, ln alpha, ln beta, ln xi, a, b, s, in this order, of x and t over their middles.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from halosearch.analysis.log_sum import NOTHING, Profile, cost_limit, fit_robustly, log_loss, polish
from halosearch.errors import UsageError

LEAST_VALUES, LEAST_COMPUTES, LEAST_ROWS = 4, 3, 10
"""Values of the dial, amounts of compute and rows: less says nothing of a minimum and of how it moves."""
LOWEST, HIGHEST = 0.05, 4.0
"""Bounds of the exponents a and b."""
LEAST_SLOPE, MOST_SLOPE = 1e-4, 3.0
"""Bounds of s."""
GRID = (0.15, 0.5, 1.2)
SLOPES = (0.05, 0.2, 0.5, 1.0)
STARTS = 4
ALPHA, BETA, A, B, S = 1, 2, 4, 5, 6


@dataclass(frozen=True, slots=True)
class ShapeLosses:
    """What is fitted: the dial's value, compute (any unit) and loss of every row; rows of one `run` were trained together."""

    value_R: np.ndarray
    compute_R: np.ndarray
    loss_R: np.ndarray
    runs_R: np.ndarray


@dataclass(frozen=True, slots=True)
class _Terms:
    """The four terms at ln x and ln t."""

    x_R: np.ndarray
    t_R: np.ndarray

    @property
    def lowest(self) -> np.ndarray:
        return np.array([math.log(NOTHING)] * 4 + [LOWEST, LOWEST, LEAST_SLOPE])

    @property
    def highest(self) -> np.ndarray:
        return np.array([50.0] * 4 + [HIGHEST, HIGHEST, MOST_SLOPE])

    def terms(self, values: np.ndarray) -> np.ndarray:
        epsilon, alpha, beta, xi, a, b, s = values
        later = -s * (a + b) * self.t_R
        return np.stack(
            [np.full(self.x_R.shape, epsilon), alpha - a * self.x_R, beta + b * self.x_R + later, xi + later]
        )

    def slopes(self, values: np.ndarray) -> np.ndarray:
        *_, a, b, s = values
        found = np.zeros((4, *self.x_R.shape, 7))
        for term in range(4):
            found[term, ..., term] = 1.0
        found[1, ..., A] = -self.x_R
        found[2, ..., B] = self.x_R
        for term in (2, 3):
            found[term, ..., A] += -s * self.t_R
            found[term, ..., B] += -s * self.t_R
            found[term, ..., S] = -(a + b) * self.t_R
        return found


@dataclass(frozen=True, slots=True)
class ShapeLaw:
    """A fitted law; `values` belong to x and t divided by `scale`. `slope`: s; its 95 % ends, None where the data does not hold them."""

    values: tuple[float, ...]
    scale: tuple[float, float]
    delta: float
    slope: float
    low: float | None
    high: float | None

    def predict(self, value: np.ndarray, compute: np.ndarray) -> np.ndarray:
        """Loss at values of the dial and compute."""
        x, t = np.broadcast_arrays(np.log(np.asarray(value, float) / self.scale[0]), np.log(compute / self.scale[1]))
        return np.asarray(np.exp(log_loss(_Terms(x, t), np.array(self.values))))

    def best(self, compute: float) -> float:
        """The dial's best value at so much compute, by the law."""
        _, alpha, beta, _, a, b, s = self.values
        logs = (math.log(a) + alpha - math.log(b) - beta) / (a + b) + s * math.log(compute / self.scale[1])
        return self.scale[0] * math.exp(min(max(logs, -700), 700))

    @property
    def decided(self) -> bool:
        """Whether the slope is held from both sides."""
        return self.low is not None and self.high is not None


def check_shapes(data: ShapeLosses) -> None:
    """Refuse what no shape law can be fitted to.

    Raises:
        UsageError: too few values, amounts of compute or rows, or numbers that are not positive.
    """
    rows = np.stack([data.value_R, data.compute_R, data.loss_R]) if len(data.loss_R) else np.empty((3, 0))
    if not (np.isfinite(rows).all() and (rows > 0).all()):
        raise UsageError("a dial's values, compute and losses must be positive numbers", "leave other rows out")
    amounts = sorted((len(np.unique(data.compute_R[data.value_R == x])) for x in np.unique(data.value_R)), reverse=True)
    values = len(amounts)
    computes = (
        amounts[min(values, LEAST_VALUES) - 1] if amounts else 0
    )  # so many at each of as many values as are needed
    if values < LEAST_VALUES or computes < LEAST_COMPUTES or len(data.loss_R) < LEAST_ROWS:
        raise UsageError(
            f"a shape law needs {LEAST_VALUES} values of the dial, each at {LEAST_COMPUTES} amounts of compute, and {LEAST_ROWS} rows; there are "
            f"{values} values, {computes} amounts and {len(data.loss_R)} rows",
            "more values: halosearch ladder --star s=64,b=8,h=2,rb=2,l3=4 --vary l3=1,2,4,8 --images 512,1024,2048",
        )


def fit_shape(data: ShapeLosses) -> ShapeLaw:
    """The law that fits best, with the interval of its slope.

    Raises:
        UsageError: there is too little to fit.
    """
    check_shapes(data)
    scale = tuple(float(np.exp(np.log(each).mean())) for each in (data.value_R, data.compute_R))
    terms = _Terms(np.log(data.value_R / scale[0]), np.log(data.compute_R / scale[1]))
    target = np.log(data.loss_R)
    values, cost, delta = fit_robustly(terms, _starts(terms, data.loss_R), target, None)
    runs = len(np.unique(data.runs_R))
    limit = cost_limit(cost, runs, len(values), 1)
    low = high = None
    if limit is not None and cost > NOTHING and _has_minimum(terms, values, target, delta, limit):
        low, high = Profile(terms, values, target, delta, limit).ends(S, first=0.01)
    return ShapeLaw(tuple(values.tolist()), (scale[0], scale[1]), delta, float(values[S]), low, high)


def _has_minimum(terms: _Terms, values: np.ndarray, target: np.ndarray, delta: float, limit: float) -> bool:
    """Whether the data refuses both a loss that only falls with the dial and one that only rises: else s is c over anything."""
    for term in (ALPHA, BETA):
        without = values.copy()
        without[term] = math.log(NOTHING)
        if polish(terms, without, target, delta, (term,))[1] <= limit:
            return False
    return True


def _starts(terms: _Terms, loss_R: np.ndarray) -> list[np.ndarray]:
    """The best values on a grid of a, b and s, the rest by non-negative least squares of relative errors."""
    found = []
    for a, b, s in itertools.product(GRID, GRID, SLOPES):
        later = np.exp(-s * (a + b) * terms.t_R)
        columns = np.stack([np.ones(len(loss_R)), np.exp(-a * terms.x_R), np.exp(b * terms.x_R) * later, later], 1)
        coefficients, error = nnls(columns / loss_R[:, None], np.ones(len(loss_R)))
        start = np.array([*np.log(np.maximum(coefficients, 1e-3 * loss_R.min())), a, b, s])
        found.append((error, start))
    return [start for _, start in sorted(found, key=lambda each: each[0])[:STARTS]]


def missed_without(data: ShapeLosses, law: ShapeLaw) -> tuple[float, float]:
    """What the law misses, and a law whose best value does not move (s at its least) misses: root mean squares in ln L."""
    terms = _Terms(np.log(data.value_R / law.scale[0]), np.log(data.compute_R / law.scale[1]))
    target, values = np.log(data.loss_R), np.array(law.values)
    still = values.copy()
    still[S] = LEAST_SLOPE
    still, _ = polish(terms, still, target, law.delta, (S,))
    return (
        float(np.sqrt(np.mean((log_loss(terms, values) - target) ** 2))),
        float(np.sqrt(np.mean((log_loss(terms, still) - target) ** 2))),
    )
