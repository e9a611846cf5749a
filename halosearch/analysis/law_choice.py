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
    """The form that missed the held-out largest budget least, the law of it on all rows, and what every form missed there.

    `used`: the rows that were fitted. Of what has too few sizes for an exponent only the largest is fitted, and `left_out` says so.
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
    """The form that says best what it has not seen: fitted without the largest budget (parameters times images), judged on it."""
    data, left_out = _with_enough(data)
    counts: dict[str, Any] = {"params": sizes_of(data.params_R), "images": sizes_of(data.images_R)}
    forms = [form for form in FORMS if all(len(counts[n]) >= LEAST_SIZES for n in form.split(" and ") if n in counts)]
    largest = _largest(data)
    missed = {}
    for form in forms:
        law = fit_law(data.at(np.flatnonzero(~largest)), form, delta=delta)
        there = data.at(np.flatnonzero(largest))
        missed[form] = float(np.mean(np.abs(np.log(law.predict(there.params_R, there.images_R) / there.loss_R))))
    best = min(forms, key=lambda form: missed[form])
    return Choice(fit_law(data, best, delta=delta), missed, int(largest.sum()), data, left_out)


def _with_enough(data: Losses) -> tuple[Losses, str]:
    """The rows of the largest size (or length) only, where there are too few sizes for an exponent and the other has enough."""
    for values, other, name in ((data.images_R, data.params_R, "lengths"), (data.params_R, data.images_R, "sizes")):
        if 1 < len(sizes_of(values)) < LEAST_SIZES <= len(sizes_of(other)):
            kept = np.flatnonzero(values >= values.max() / NEAR)
            words = f"Only the largest of {len(sizes_of(values))} {name} is fitted ({values.max():,.0f}): an exponent needs {LEAST_SIZES}."
            return data.at(kept), words
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
