"""The scaling law L(N, D) = E + A N^-alpha + B D^-beta: loss by parameters and images, fitted to the logarithm of the loss.

Fitted as Hoffmann et al. (arXiv:2203.15556, approach 3) did: Huber's loss on residuals of ln L. Exponents are looked for on a grid, with
non-negative least squares for E, A and B inside (variable projection; Golub and Pereyra, 1973), and the best starts are polished.

Intervals are by profile: all values of a parameter with which the others can still fit so well that an F test at 5 % does not refuse it
(Bates and Watts, Nonlinear Regression Analysis, 1988, section 6.1). A law of few sizes over less than a decade holds E and alpha only
together: their joint region says so.

Shape suffixes: R rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq, least_squares, nnls
from scipy.stats import f as f_distribution

GRID = tuple(np.geomspace(0.05, 2.0, 9))
STARTS = 4
NAMES = ("E", "A", "B", "alpha", "beta")
LOWEST, HIGHEST = 1e-4, 5.0
"""Bounds of an exponent."""
NOTHING = 1e-12
"""What a coefficient that may be nought is at least: its logarithm is fitted."""
HUBER = 1.345
"""Residuals beyond so many standard deviations count by their size, not its square (95 % efficient where noise is normal)."""
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
        return np.asarray(np.exp(_log_loss(np.array(self.values), _logs(params, images, self.scale), FORMS[self.form])))

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


def _terms(values: np.ndarray, logs: np.ndarray, form: tuple[bool, bool]) -> np.ndarray:
    """Logarithms of the terms, (terms, rows): E, then what depends on N and on D."""
    used = [n for n in (0, 1) if form[n]]
    rows = [np.full(logs.shape[1:], values[0])]
    rows += [values[1 + k] - values[1 + len(used) + k] * logs[n] for k, n in enumerate(used)]
    return np.stack(rows)


def _log_loss(values: np.ndarray, logs: np.ndarray, form: tuple[bool, bool]) -> np.ndarray:
    found: np.ndarray = np.logaddexp.reduce(_terms(values, logs, form), 0)
    return found


def _jacobian(values: np.ndarray, logs: np.ndarray, form: tuple[bool, bool]) -> np.ndarray:
    """Of ln L by every value, (rows, values)."""
    used = [n for n in (0, 1) if form[n]]
    terms = _terms(values, logs, form)
    shares = np.exp(terms - np.logaddexp.reduce(terms, 0))
    slopes = [-shares[1 + k] * logs[n] for k, n in enumerate(used)]
    return np.stack([*shares, *slopes], 1)


def fit_law(data: Losses, form: str = "params and images", *, delta: float | None = None) -> Law:
    """The law of a form that fits best. `delta`: of Huber's loss in ln L; None: 1.345 of the residuals' robust deviation."""
    scale = (_middle(data.params_R), _middle(data.images_R))
    logs, target = _logs(data.params_R, data.images_R, scale), np.log(data.loss_R)
    starts = _starts(logs, data.loss_R, FORMS[form])
    if delta is None:
        rough = min((_polish(start, logs, target, FORMS[form], math.inf) for start in starts), key=lambda each: each[1])
        residuals = np.abs(_log_loss(rough[0], logs, FORMS[form]) - target)
        free = max(1, len(target) - len(rough[0])) / len(target)
        delta = max(HUBER * 1.4826 * float(np.median(residuals)) / math.sqrt(free), 1e-9)
        starts = [rough[0]]
    values, cost = min((_polish(start, logs, target, FORMS[form], delta) for start in starts), key=lambda each: each[1])
    return Law(form, tuple(values.tolist()), scale, delta, cost)


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


def _polish(
    start: np.ndarray,
    logs: np.ndarray,
    target: np.ndarray,
    form: tuple[bool, bool],
    delta: float,
    fixed: tuple[int, ...] = (),
) -> tuple[np.ndarray, float]:
    """Values of least Huber loss from a start, the values `fixed` kept; with the loss."""
    free = np.array([n for n in range(len(start)) if n not in fixed], dtype=int)
    if not len(free):
        return start, _huber(_log_loss(start, logs, form) - target, delta)
    low = np.where(np.arange(len(start)) <= sum(form), math.log(NOTHING), LOWEST)
    high = np.where(np.arange(len(start)) <= sum(form), 50.0, HIGHEST)

    def whole(x: np.ndarray) -> np.ndarray:
        values = start.copy()
        values[free] = x
        return values

    options: dict[str, Any] = {} if math.isinf(delta) else {"loss": "huber", "f_scale": delta}
    found = least_squares(
        lambda x: _log_loss(whole(x), logs, form) - target,
        np.clip(start[free], low[free] + 1e-9, high[free] - 1e-9),
        lambda x: _jacobian(whole(x), logs, form)[:, free],
        (low[free], high[free]),
        x_scale="jac", max_nfev=200, ftol=1e-10, xtol=1e-10, **options,
    )  # fmt: skip
    return whole(found.x), 2 * float(found.cost)


def _huber(residuals: np.ndarray, delta: float) -> float:
    """Twice Huber's loss, summed."""
    size = np.abs(residuals)
    return float(np.where(size <= delta, size**2, 2 * delta * size - delta**2).sum())


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a 95 % interval; an end that the data does not hold is None."""

    low: float | None
    high: float | None


def profile_intervals(data: Losses, law: Law) -> dict[str, Interval]:
    """Of every exponent, and of E: what an F test at 5 % does not refuse, the other values fitted anew."""
    form = FORMS[law.form]
    logs, target = _logs(data.params_R, data.images_R, law.scale), np.log(data.loss_R)
    values = np.array(law.values)
    limit = cost_limit(data, law, 1)
    found = {}
    if limit is None or law.cost < NOTHING:  # fewer runs than values, or losses that are the law's own
        return {name: Interval(None, None) for name in _names(law.form) if name not in ("A", "B")}
    for place, name in enumerate(_names(law.form)):
        if name in ("A", "B"):
            continue
        ends = []
        for sign in (-1.0, 1.0):
            ends.append(
                _end(
                    lambda x, start, p=place: _polish(_with(start, p, x), logs, target, form, law.delta, (p,)),
                    values,
                    place,
                    sign,
                    limit,
                )
            )
        low, high = ends
        if name == "E":
            low, high = (None if low is None else math.exp(low), None if high is None else math.exp(high))
        found[name] = Interval(low, high)
    return found


def cost_limit(data: Losses, law: Law, values: int) -> float | None:
    """The Huber cost at which an F test at 5 % refuses so many given values; None where runs are too few.

    Rows of one run may vary together: only runs are counted as independent, as if all its rows said the same.
    """
    runs = len(np.unique(data.runs_R))
    freedom = runs - len(law.values)
    if freedom < 1:
        return None
    together = len(data.loss_R) / runs
    share = values * f_distribution.ppf(0.95, values, freedom) / (len(data.loss_R) - len(law.values))
    return float(law.cost * (1 + together * share))


def _with(values: np.ndarray, place: int, x: float) -> np.ndarray:
    changed = values.copy()
    changed[place] = x
    return changed


def _end(
    fit: Callable[..., tuple[np.ndarray, float]], values: np.ndarray, place: int, sign: float, limit: float
) -> float | None:
    """Where the profile crosses the limit, to one side of the best value: by steps that double, then by halves."""
    exponent = place > (len(values) - 1) // 2
    best, start = values[place], values
    inside, step = best, 0.02 if exponent else 0.005
    for _ in range(24):
        outside = inside + sign * step
        if exponent and not LOWEST < outside < HIGHEST:
            return None
        if not exponent and outside < math.log(NOTHING):
            return None
        start, cost = fit(outside, start)
        if cost > limit:
            break
        inside, step = outside, 2 * step
    else:
        return None
    found: float = brentq(lambda x: fit(x, start)[1] - limit, inside, outside, xtol=1e-4 * step, rtol=1e-6, maxiter=30)
    return found


def bootstrap(data: Losses, law: Law, draws: int, seed: int = 0) -> list[Law]:
    """The law fitted to rows drawn anew, run by run, from the law's own values."""
    rng = np.random.default_rng(seed)
    runs = np.unique(data.runs_R)
    rows_of = {run: np.flatnonzero(data.runs_R == run) for run in runs}
    found = []
    for _ in range(draws):
        part = data.at(np.concatenate([rows_of[run] for run in rng.choice(runs, len(runs))]))
        logs, target = _logs(part.params_R, part.images_R, law.scale), np.log(part.loss_R)
        values, cost = _polish(np.array(law.values), logs, target, FORMS[law.form], law.delta)
        found.append(replace(law, values=tuple(values.tolist()), cost=cost))
    return found


def forecast(laws: Sequence[Law], law: Law, params: float, images: float, rows: int) -> tuple[float, float, float]:
    """Loss of a larger budget with the 95 % interval of the fits to drawn rows, widened for the values that are fitted."""
    middle = float(law.predict(params, images))
    widen = math.sqrt(rows / max(1, rows - len(law.values)))
    low, high = np.quantile([math.log(float(each.predict(params, images))) for each in laws], [0.025, 0.975])
    centre = math.log(middle)
    return middle, math.exp(centre - widen * (centre - low)), math.exp(centre + widen * (high - centre))


def cost_with(data: Losses, law: Law, log_e: float, alpha: float) -> float:
    """The least Huber cost with E and alpha given."""
    form = FORMS[law.form]
    logs, target = _logs(data.params_R, data.images_R, law.scale), np.log(data.loss_R)
    values = np.array(law.values)
    place = len(values) - sum(form)
    values[0], values[place] = log_e, alpha
    return _polish(values, logs, target, form, law.delta, (0, place))[1]
