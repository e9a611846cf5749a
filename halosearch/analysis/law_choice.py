"""Which form of the scaling law is used, and whether there is enough to fit one at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from halosearch.analysis.scaling_law import FORMS, Law, Losses, fit_law
from halosearch.errors import UsageError

LEAST_SIZES = 4
"""Different parameter counts (or lengths) that an exponent needs, the largest left out to choose by."""
NEAR = 1.05
"""Sizes within this ratio count as one."""
SPREAD_OVER_NOISE = 3.0
"""How many times the noise of a loss the losses must differ."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that missed what was held out least, the law of it on all rows, and what every form missed there.

    Held out in turn are the largest budget, the largest size and the longest length (`held_out`: losses in all).

    `used`: the rows that were fitted. Of what has too few sizes for an exponent only one is fitted, and `left_out` says so.
    """

    law: Law
    missed: dict[str, float]
    held_out: int
    used: Losses
    left_out: str


def sizes_of(values: np.ndarray) -> list[float]:
    """Different sizes, those within 5 % being one, ascending."""
    found: list[float] = []
    for value in np.sort(values):
        if not found or value > NEAR * found[-1]:
            found.append(float(value))
    return found


def check_losses(data: Losses) -> None:
    """Refuse what no law can be fitted to, with the reason.

    Raises:
        UsageError: too few rows or sizes, losses that are no losses, points along one training, or a spread that is noise.
    """
    if not len(data.loss_R):
        raise UsageError("there are no losses", "a row for each training: params, images, loss")
    rows = np.stack([data.params_R, data.images_R, data.loss_R])
    if not (np.isfinite(rows).all() and (rows > 0).all()):
        raise UsageError("parameters, images and losses must be positive numbers", "leave rows without a loss out")
    counts = [len(sizes_of(column)) for column in (data.params_R, data.images_R)]
    if max(counts) < LEAST_SIZES or len(data.loss_R) < LEAST_SIZES + 2:
        raise UsageError(
            f"a law needs {LEAST_SIZES} different sizes or lengths and {LEAST_SIZES + 2} rows; there are {len(data.loss_R)} rows of "
            f"{counts[0]} sizes and {counts[1]} lengths",
            "train more budgets: halosearch ladder --budgets 4M,8M,16M,32M",
        )
    noise = noise_of(data)
    spread = float(np.std(np.log(data.loss_R)))
    if noise is not None and spread < SPREAD_OVER_NOISE * noise:
        raise UsageError(
            f"losses differ by {100 * spread:.1f} % (one standard deviation), and equal budgets differ by {100 * noise:.1f} %: no law is to be seen",
            "budgets further apart, or more seeds",
        )


def check_trainings(data: Losses) -> None:
    """Refuse rows that are points along one training: before its schedule ended, a loss says little of a training of that length.

    Raises:
        UsageError: a run has several lengths.
    """
    for run in np.unique(data.runs_R):
        lengths = np.unique(data.images_R[data.runs_R == run])
        if len(lengths) > 1:
            raise UsageError(
                f"run {run} has losses after {len(lengths)} lengths: points along one training, whose schedule had not ended there, are no "
                "trainings of that length",
                "one row for each training, or --cooled where every point had its own cooldown",
            )


def noise_of(data: Losses) -> float | None:
    """Standard deviation of ln L between rows of equal size and length; None where there are none."""
    groups: dict[tuple[float, float], list[float]] = {}
    for params, images, loss in zip(data.params_R, data.images_R, data.loss_R, strict=True):
        groups.setdefault((float(params), float(images)), []).append(math.log(loss))
    within = [np.array(group) - np.mean(group) for group in groups.values() if len(group) > 1]
    if not within:
        return None
    freedom = sum(len(group) - 1 for group in within)
    return float(math.sqrt(sum(float(group @ group) for group in within) / freedom))


def choose_law(data: Losses, *, delta: float | None = None) -> Choice:
    """The form that says best what it has not seen: fitted without the largest budget, size and length in turn, judged on each.

    One loss alone, which the largest budget often is, would leave the choice to its noise.

    Raises:
        UsageError: what is left of it is too little.
    """
    data, left_out = _with_enough(data)
    if left_out:
        check_losses(data)
    counts: dict[str, Any] = {"params": sizes_of(data.params_R), "images": sizes_of(data.images_R)}
    forms = [form for form in FORMS if all(len(counts[n]) >= LEAST_SIZES for n in form.split(" and ") if n in counts)]
    parts = _held_out(data, counts)
    missed = {form: float(np.mean([_missed(data, part, form, delta) for part in parts])) for form in forms}
    best = min(forms, key=lambda form: missed[form])
    return Choice(fit_law(data, best, delta=delta), missed, int(sum(part.sum() for part in parts)), data, left_out)


def _missed(data: Losses, part: np.ndarray, form: str, delta: float | None) -> float:
    """Mean deviation of ln L on the part that the form was fitted without."""
    law = fit_law(data.at(np.flatnonzero(~part)), form, delta=delta)
    there = data.at(np.flatnonzero(part))
    return float(np.mean(np.abs(np.log(law.predict(there.params_R, there.images_R) / there.loss_R))))


def _held_out(data: Losses, counts: dict[str, Any]) -> list[np.ndarray]:
    """The rows of the largest budget, and those of the largest size and longest length where there are enough others; none twice."""
    found = [_largest(data)]
    for name, column in (("params", data.params_R), ("images", data.images_R)):
        part = column >= column.max() / NEAR
        if len(counts[name]) >= LEAST_SIZES and part.sum() <= len(part) // 2:
            found.append(part)
    return list({part.tobytes(): part for part in found}.values())


def _with_enough(data: Losses) -> tuple[Losses, str]:
    """The rows of one size (or length) only, the largest that has enough others, where there are too few sizes for an exponent."""
    for values, other, name in ((data.images_R, data.params_R, "lengths"), (data.params_R, data.images_R, "sizes")):
        if 1 < len(sizes_of(values)) < LEAST_SIZES <= len(sizes_of(other)):
            rows = {
                each: np.flatnonzero((values >= each / NEAR) & (values <= each * NEAR)) for each in sizes_of(values)
            }
            most = max(rows, key=lambda each: (min(len(sizes_of(other[rows[each]])), LEAST_SIZES), each))
            words = f"Only one of {len(rows)} {name} is fitted ({most:,.0f}): an exponent needs {LEAST_SIZES}."
            return data.at(rows[most]), words
    return data, ""


def _largest(data: Losses) -> np.ndarray:
    """The rows of the largest budget, parameters times images; of equal budgets those of the largest networks."""
    budget = data.params_R * data.images_R
    largest: np.ndarray = budget >= budget.max() / NEAR
    if largest.sum() > len(budget) // 2:
        largest = data.params_R >= data.params_R.max() / NEAR
    if largest.sum() > len(budget) // 2:
        largest = data.images_R >= data.images_R.max() / NEAR
    return largest
