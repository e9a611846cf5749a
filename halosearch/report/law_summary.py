"""What a fit of the scaling law says: law, intervals, the forms that were tried, the joint region, a forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from halosearch.analysis.law_choice import check_losses, check_trainings, choose_law, noise_of, sizes_of
from halosearch.analysis.scaling_law import Law, Losses, bootstrap, forecast, profile_intervals
from halosearch.analysis.scaling_region import joint_region

DRAWS, BAND_POINTS = 400, 12


def law_summary(
    data: Losses,
    sources: Sequence[str],
    *,
    cooled: bool,
    target: tuple[float | None, float | None] = (None, None),
    delta: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The summary as plain values.

    `target`: parameters and images of a forecast (default: twice the largest; of what the law does not depend on, the largest itself).

    Raises:
        UsageError: there is too little to fit.
    """
    if not cooled:
        check_trainings(data)
    check_losses(data)
    choice = choose_law(data, delta=delta)
    law, data = choice.law, choice.used
    draws = bootstrap(data, law, DRAWS, seed)
    params, images = (
        wanted or (2 * float(column.max()) if exponent in law.coefficients() else float(column.max()))
        for wanted, column, exponent in zip(target, (data.params_R, data.images_R), ("alpha", "beta"), strict=True)
    )
    runs = len(np.unique(data.runs_R))
    loss, low, high = forecast(draws, law, params, images, runs)
    noise = noise_of(data)
    found: dict[str, Any] = {
        "left_out": choice.left_out,
        "sources": list(sources),
        "rows": len(data.loss_R),
        "runs": runs,
        "sizes": sizes_of(data.params_R),
        "lengths": sizes_of(data.images_R),
        "form": law.form,
        "coefficients": law.coefficients(),
        "intervals": {name: asdict(each) for name, each in profile_intervals(data, law).items()},
        "huber_delta": law.delta,
        "noise": noise,
        "missed": choice.missed,
        "held_out": choice.held_out,
        "residual": float(np.sqrt(np.mean(np.log(law.predict(data.params_R, data.images_R) / data.loss_R) ** 2))),
        "forecast": {"params": params, "images": images, "loss": loss, "low": low, "high": high, "draws": DRAWS},
        "region": joint_region(data, law),
        "points": [list(map(float, row)) for row in zip(data.params_R, data.images_R, data.loss_R, strict=True)],
        "curves": _curves(data, law),
        "band": _band(data, law, draws),
    }
    return found | {"answer": _answer(found)}


def _curves(data: Losses, law: Law) -> list[dict[str, Any]]:
    """The law over parameters, a curve for every length; up to twice the largest that was trained."""
    params = np.geomspace(data.params_R.min(), 2 * data.params_R.max(), 40)
    lengths = sizes_of(data.images_R)
    shown = lengths if len(lengths) <= 6 else [float(x) for x in np.geomspace(lengths[0], lengths[-1], 6)]
    return [
        {"images": n, "params": params.tolist(), "loss": law.predict(params, np.full(len(params), n)).tolist()}
        for n in shown
    ]


def _band(data: Losses, law: Law, draws: Sequence[Law]) -> list[list[float]]:
    """(parameters, 2.5 % and 97.5 % of the law) for the longest length, from the fits to drawn rows; no noise of one training is in it."""
    params = np.geomspace(data.params_R.min(), 2 * data.params_R.max(), BAND_POINTS)
    longest = float(data.images_R.max())
    rows = [(float(n), *forecast(draws, law, float(n), longest, len(np.unique(data.runs_R)))[1:]) for n in params]
    return [[n, low, high] for n, low, high in rows if low is not None and high is not None]


def _answer(found: dict[str, Any]) -> list[str]:
    words = ", ".join(f"{name} = {_with_interval(name, found)}" for name in found["coefficients"])
    forms = ", ".join(f"{form} {100 * missed:.2f} %" for form, missed in found["missed"].items())
    sentences = [
        f"L = {_formula(found['form'])}: {words}.",
        f"Fitted to {found['rows']} losses of {found['runs']} trainings ({len(found['sizes'])} sizes, {len(found['lengths'])} lengths) from "
        f"{', '.join(found['sources'])}; what is left deviates by {100 * found['residual']:.2f} %"
        + ("." if found["noise"] is None else f", equal budgets by {100 * found['noise']:.2f} %."),
        f"Form chosen by what it misses on the largest budget, size and length, left out of the fit in turn ({found['held_out']} losses): "
        f"{forms}.",
    ]
    if found["left_out"]:
        sentences.append(found["left_out"])
    if found["noise"] is None:
        sentences.append("No budget was trained twice, so how far losses of equal budgets differ is not known.")
    ahead = found["forecast"]
    sentences.append(
        f"At {ahead['params']:,.0f} parameters and {ahead['images']:,.0f} images it expects a loss of {ahead['loss']:.4f} "
        + (
            f"[{ahead['low']:.4f}, {ahead['high']:.4f}] (the law's own interval, without the noise of one training)."
            if ahead["low"] is not None
            else "without an interval."
        )
    )
    if found["runs"] <= len(found["coefficients"]):
        sentences.append(
            f"{found['runs']} trainings cannot hold a law of {len(found['coefficients'])} values: every interval is open by that alone. More "
            "budgets or seeds."
        )
    open_ends = [name for name, ends in found["intervals"].items() if None in ends.values()]
    decades = math.log10(found["sizes"][-1] / found["sizes"][0]) if "alpha" in found["coefficients"] else None
    if open_ends:
        sentences.append(
            f"The data does not hold {', '.join(open_ends)} from both sides: its interval is open, and its value is not to be quoted alone."
        )
    if found["form"] == "nothing":
        sentences.append(
            "Neither parameters nor images say anything of the largest budget's loss that a constant does not say."
        )
    if decades is not None and decades < 1.5:
        sentences.append(
            f"Sizes span {decades:.1f} decades: E and alpha are held together only (see their joint region), not each alone."
        )
    return sentences


def _formula(form: str) -> str:
    return {
        "params and images": "E + A N^-alpha + B D^-beta",
        "params": "E + A N^-alpha",
        "images": "E + B D^-beta",
        "nothing": "E",
    }[form]


def _with_interval(name: str, found: dict[str, Any]) -> str:
    ends, value = found["intervals"].get(name), found["coefficients"][name]
    if ends is None:
        return f"{value:.4g}"
    low, high = ("open" if end is None else f"{end:.3f}" for end in (ends["low"], ends["high"]))
    return f"{value:.4f} [{low}, {high}]"
