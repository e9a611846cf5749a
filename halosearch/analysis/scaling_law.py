"""The scaling law L(N, D) = E + A N^-alpha + B D^-beta: loss by parameters and images, fitted to the logarithm of the loss.

Fitted as Hoffmann et al. (arXiv:2203.15556, approach 3) did: Huber's loss on residuals of ln L. Exponents are looked for on a grid, with
non-negative least squares for E, A and B inside (variable projection; Golub and Pereyra, 1973), and the best starts are polished.

Intervals are by profile. A law of few sizes over less than a decade holds E and alpha only together: their joint region says so.

Shape suffixes: R rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

from halosearch.analysis.log_sum import (
    HIGHEST,
    LOWEST,
    NOTHING,
    Profile,
    cost_limit,
    fit_robustly,
    log_loss,
    polish,
)

GRID = tuple(np.geomspace(0.05, 2.0, 9))
STARTS = 4
NAMES = ("E", "A", "B", "alpha", "beta")
FORMS = {"params and images": (True, True), "params": (True, False), "images": (False, True), "nothing": (False, False)}
"""What the loss depends on."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What is fitted: parameters, images and loss of every row; rows of one `run` were trained together and vary together."""

    params_R: np.ndarray
    images_R: np.ndarray
    loss_R: np.ndarray
    runs_R: np.ndarray

    def at(self, rows: np.ndarray) -> Losses:
        """Some of the rows."""
        return Losses(self.params_R[rows], self.images_R[rows], self.loss_R[rows], self.runs_R[rows])


@dataclass(frozen=True, slots=True)
class Law:
    """A fitted law. Coefficients belong to N and D divided by `scale` (their geometric means); `coefficients` gives the plain ones.

    `values`: ln E, ln A, ln B, alpha, beta of the form's own terms. `delta`: of Huber's loss, in ln L; `cost`: its sum over rows, times 2.
    """

    form: str
    values: tuple[float, ...]
    scale: tuple[float, float]
    delta: float
    cost: float

    def predict(self, params: Any, images: Any) -> np.ndarray:
        """Loss at so many parameters and images."""
        return np.asarray(np.exp(log_loss(_Terms(_logs(params, images, self.scale), self.form), np.array(self.values))))

    def coefficients(self) -> dict[str, float]:
        """E, A, alpha and B, beta where the form has them, in plain units."""
        found = dict(zip(_names(self.form), self.values, strict=True))
        plain = {"E": math.exp(found["E"])}
        for size, name, exponent in ((self.scale[0], "A", "alpha"), (self.scale[1], "B", "beta")):
            if exponent in found:
                plain |= {name: math.exp(found[name] + found[exponent] * math.log(size)), exponent: found[exponent]}
        return plain


def _names(form: str) -> list[str]:
    by_params, by_images = FORMS[form]
    return ["E"] + ["A"] * by_params + ["B"] * by_images + ["alpha"] * by_params + ["beta"] * by_images


def _logs(params: Any, images: Any, scale: tuple[float, float]) -> np.ndarray:
    return np.log(np.stack([np.asarray(params, float) / scale[0], np.asarray(images, float) / scale[1]]))


@dataclass(frozen=True, slots=True)
class _Terms:
    """E and what depends on N and on D, at `logs` (2, R)."""

    logs: np.ndarray
    form: str

    @property
    def used(self) -> list[int]:
        return [n for n in (0, 1) if FORMS[self.form][n]]

    @property
    def lowest(self) -> np.ndarray:
        return np.array([math.log(NOTHING)] * (1 + len(self.used)) + [LOWEST] * len(self.used))

    @property
    def highest(self) -> np.ndarray:
        return np.array([50.0] * (1 + len(self.used)) + [HIGHEST] * len(self.used))

    def terms(self, values_V: np.ndarray) -> np.ndarray:
        used = self.used
        rows = [np.full(self.logs.shape[1:], values_V[0])]
        rows += [values_V[1 + k] - values_V[1 + len(used) + k] * self.logs[n] for k, n in enumerate(used)]
        return np.stack(rows)

    def slopes(self, values_V: np.ndarray) -> np.ndarray:
        used = self.used
        found = np.zeros((1 + len(used), *self.logs.shape[1:], len(values_V)))
        for k in range(1 + len(used)):
            found[k, ..., k] = 1.0
        for k, n in enumerate(used):
            found[1 + k, ..., 1 + len(used) + k] = -self.logs[n]
        return found


def _terms_of(data: Losses, law: Law) -> tuple[_Terms, np.ndarray]:
    """The law at the rows of the data, and ln L there."""
    return _Terms(_logs(data.params_R, data.images_R, law.scale), law.form), np.log(data.loss_R)


def fit_law(data: Losses, form: str = "params and images", *, delta: float | None = None) -> Law:
    """The law of a form that fits best. `delta`: of Huber's loss in ln L; None: 1.345 of the residuals' robust deviation."""
    scale = (_middle(data.params_R), _middle(data.images_R))
    logs = _logs(data.params_R, data.images_R, scale)
    starts = _starts(logs, data.loss_R, FORMS[form])
    values, cost, used = fit_robustly(_Terms(logs, form), starts, np.log(data.loss_R), delta)
    return Law(form, tuple(values.tolist()), scale, used, cost)


def _middle(values: np.ndarray) -> float:
    return float(np.exp(np.log(values).mean()))


def _starts(logs: np.ndarray, loss_R: np.ndarray, form: tuple[bool, bool]) -> list[np.ndarray]:
    """The best values on a grid of exponents, coefficients by non-negative least squares of relative errors."""
    used = [n for n in (0, 1) if form[n]]
    found = []
    for exponents in itertools.product(GRID, repeat=len(used)):
        columns = [np.ones(len(loss_R))] + [np.exp(-e * logs[n]) for e, n in zip(exponents, used, strict=True)]
        coefficients, error = nnls(np.stack(columns, 1) / loss_R[:, None], np.ones(len(loss_R)))
        found.append((error, np.array([*np.log(np.maximum(coefficients, 1e-3 * loss_R.min())), *exponents])))
    return [start for _, start in sorted(found, key=lambda each: each[0])[:STARTS]]


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a 95 % interval; an end that the data does not hold is None."""

    low: float | None
    high: float | None


def profile_intervals(data: Losses, law: Law) -> dict[str, Interval]:
    """Of every exponent, and of E: what an F test at 5 % does not refuse, the other values fitted anew."""
    names = _names(law.form)
    limit = limit_of(data, law, 1)
    if limit is None or law.cost < NOTHING:  # fewer runs than values, or losses that are the law's own
        return {name: Interval(None, None) for name in names if name not in ("A", "B")}
    terms, target = _terms_of(data, law)
    profile = Profile(terms, np.array(law.values), target, law.delta, limit)
    found = {}
    for place, name in enumerate(names):
        if name in ("A", "B"):
            continue
        low, high = profile.ends(place, first=0.005 if name == "E" else 0.02)
        if name == "E":
            low, high = (None if low is None else math.exp(low), None if high is None else math.exp(high))
        found[name] = Interval(low, high)
    return found


def limit_of(data: Losses, law: Law, given: int) -> float | None:
    """The Huber cost at which an F test at 5 % refuses so many given values; None where runs are too few."""
    return cost_limit(law.cost, len(np.unique(data.runs_R)), len(law.values), given)


def bootstrap(data: Losses, law: Law, draws: int, seed: int = 0) -> list[Law]:
    """The law fitted to rows drawn anew, run by run, from the law's own values."""
    rng = np.random.default_rng(seed)
    runs = np.unique(data.runs_R)
    rows_of = {run: np.flatnonzero(data.runs_R == run) for run in runs}
    found = []
    for _ in range(draws):
        part = data.at(np.concatenate([rows_of[run] for run in rng.choice(runs, len(runs))]))
        terms, target = _terms_of(part, law)
        values, cost = polish(terms, np.array(law.values), target, law.delta)
        found.append(replace(law, values=tuple(values.tolist()), cost=cost))
    return found


def forecast(
    laws: Sequence[Law], law: Law, params: float, images: float, runs: int
) -> tuple[float, float | None, float | None]:
    """Loss of a larger budget with the 95 % interval of the fits to trainings drawn anew, widened for the values that are fitted.

    No interval where there are no more trainings than values: rows of one training vary together.
    """
    middle = float(law.predict(params, images))
    if runs <= len(law.values):
        return middle, None, None
    widen = math.sqrt(runs / (runs - len(law.values)))
    low, high = np.quantile([math.log(float(each.predict(params, images))) for each in laws], [0.025, 0.975])
    centre = math.log(middle)
    return middle, math.exp(centre - widen * (centre - low)), math.exp(centre + widen * (high - centre))


def fitted_with(
    data: Losses, law: Law, log_e: float, alpha: float, start_V: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Values and Huber cost of the best fit with E and alpha given. `start_V`: a neighbour's values, else the law's own."""
    terms, target = _terms_of(data, law)
    values = np.array(law.values if start_V is None else start_V)
    place = 1 + len(terms.used)
    values[0], values[place] = log_e, alpha
    return polish(terms, values, target, law.delta, (0, place))
