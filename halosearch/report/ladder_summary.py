"""What a ladder says: the law of its best shapes, how they scale, and whether what was forecast of a larger budget held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halosearch.analysis.compound import STEP_TIME, Shape, best_by_budget, seeds_of, slopes
from halosearch.analysis.scaling_law import Losses
from halosearch.analysis.verdicts import LEAST, half_width
from halosearch.families.known import Config, count, numeric_dials, parse_candidate, search_of
from halosearch.record.evaluation import ARM, COMPLETE, STEP_TIMES, Evaluation
from halosearch.spec.study import StudySpec

FORECAST = "forecast-"
"""Of a ladder's facts: what was expected of a larger budget."""


def shapes_of(spec: StudySpec, rows: Sequence[Evaluation], *, check: bool = False) -> list[Shape]:
    """The shapes of a ladder with their scores; with `check` those of the larger budget that tests the forecast."""
    experiment = spec.experiment
    assert experiment is not None
    scores: dict[int, dict[int, float]] = {}
    for row in rows:
        if row.kind == ARM and row.state == COMPLETE:
            scores.setdefault(row.trial, {})[row.repeat] = float(row.result["score"])
    timed: dict[str, float] = {}
    for row in rows:
        if row.kind == STEP_TIMES and row.state == COMPLETE:
            for name, each in row.result["step_times"].items():
                timed[name] = float(np.median([each["samples_s"][place] for place in each["kept_rounds"]]))
    arms = ((n, arm, parse_candidate(arm.network)) for n, arm in enumerate(experiment.arms) if arm.check == check)
    return [
        Shape(
            arm.name, arm.budget or 0, count(config).params, numbers_of(config), scores.get(n, {}), timed.get(arm.name)
        )
        for n, arm, config in arms
    ]


def numbers_of(config: Config) -> dict[str, float]:
    """The dials of a network that are numbers, and of a HaloNet its window, block plus two halos."""
    found = numeric_dials(config)
    if {"block_size", "halo_size"} <= set(found):
        found["window"] = found["block_size"] + 2 * found["halo_size"]
    return found


def members_of(family: str) -> list[Shape]:
    """The published members as shapes."""
    published = search_of(family).published
    return [
        Shape(name, params := count(member).params, params, numbers_of(member), {})
        for name, member in published.items()
    ]


def losses_of(spec: StudySpec, rows: Sequence[Evaluation], name: str) -> Losses:
    """Losses of the best shape of every budget at every length, by seed: chosen by the other seeds, among those that have this one.

    With one seed the same score chooses and is fitted, and is then too good; the ladder says so.
    """
    shapes = shapes_of(spec, rows)
    seeds = seeds_of(shapes)
    best = {
        seed: {
            shape.name
            for shape in best_by_budget(
                [shape for shape in shapes if seed in shape.scores],
                [other for other in seeds if other != seed] or seeds,
            )
        }
        for seed in seeds
    }
    assert spec.experiment is not None
    found = [
        (row.costs["params"], each["images_seen"], 1 - each["score"], f"{name}:{row.key}")
        for row in rows
        if row.kind == ARM
        and row.state == COMPLETE
        and spec.experiment.arms[row.trial].name in best.get(row.repeat, ())
        for each in row.result["scores"]
    ]
    params, images, loss = (np.array([each[n] for each in found], dtype=float) for n in range(3))
    return Losses(params, images, loss, np.array([each[3] for each in found], dtype=str))


def ladder_words(spec: StudySpec, rows: Sequence[Evaluation]) -> list[str]:
    """How the best shapes scale, in sentences."""
    shapes = shapes_of(spec, rows)
    best = best_by_budget(shapes, seeds_of(shapes))
    words = [f"Best shape at {shape.budget:,}: {shape.name}" for shape in best]
    found = slopes(shapes, members_of(spec.family))
    said = [
        f"{each['dial'].replace('_', ' ')} {each['slope']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]"
        + ("" if each["published"] is None else f" (published members {each['published']:+.2f})")
        for each in found
    ]
    if said:
        words.append(
            f"Slopes of ln dial over ln parameters over the best shapes, ranges (95 %) with shapes and seeds drawn anew: {'; '.join(said)}."
        )
    by_time = [
        f"{each['dial'].replace('_', ' ')} {each['slope']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]"
        for each in slopes(shapes, (), cost=STEP_TIME)
    ]
    if by_time:
        words.append(f"The same over ln of the measured training step: {'; '.join(by_time)}.")
    lost = sorted({shape.budget for shape in shapes} - {shape.budget for shape in best})
    if lost and best:
        words.append(f"No training ended at {', '.join(f'{budget:,}' for budget in lost)} parameters.")
    if len(seeds_of(shapes)) < 2:
        words.append(
            "One seed chose and scored the best shapes: their losses are too low by that choice. More seeds: --seeds 2."
        )
    return words


def check_of(spec: StudySpec, rows: Sequence[Evaluation], forecasts: Mapping[int, Mapping[str, float]]) -> list[str]:
    """Of every larger budget whether its shape did what was forecast, and better than shapes drawn evenly beside it."""
    checked = shapes_of(spec, rows, check=True)
    words = []
    for budget in sorted({shape.budget for shape in checked} & set(forecasts)):
        words += _checked(
            [shape for shape in checked if shape.budget == budget and shape.scores], budget, forecasts[budget]
        )
    return words


def _checked(shapes: Sequence[Shape], budget: int, forecast: Mapping[str, float]) -> list[str]:
    chosen = next((shape for shape in shapes if shape.name.endswith("-forecast")), None)
    if chosen is None or len(chosen.scores) < LEAST:
        there = 0 if chosen is None else len(chosen.scores)
        return [f"Whether the forecast for {budget:,} parameters holds needs {LEAST} seeds; there are {there}."]
    loss_S = np.array([1 - score for score in chosen.scores.values()])
    middle, half = float(loss_S.mean()), half_width(loss_S, 0.05)
    low, high = middle - half, middle + half
    interval = "without an interval"
    if forecast["low"] is not None:
        interval = f"[{forecast['low']:.4f}, {forecast['high']:.4f}]"
    if forecast["low"] is None:
        verdict = "whether it held is not decided: so few trainings gave it no interval"
    elif forecast["low"] <= low and high <= forecast["high"]:
        verdict = "the forecast held"
    elif high < forecast["low"] or low > forecast["high"]:
        verdict = "the forecast did not hold"
    else:
        verdict = "whether it held is not decided by so many seeds"
    words = [
        f"Forecast for {budget:,} parameters: loss {forecast['loss']:.4f} {interval}; its shape, trained "
        f"with {len(loss_S)} seeds: {middle:.4f} ± {half:.4f} ({100 * math.log(middle / forecast['loss']):+.1f} %): {verdict}."
    ]
    for other in (shape for shape in shapes if shape is not chosen):
        seeds = sorted(set(other.scores) & set(chosen.scores))
        if len(seeds) >= LEAST:
            d_S = np.array([chosen.scores[s] - other.scores[s] for s in seeds])
            half = half_width(d_S, 0.05 / max(1, len(shapes) - 1))
            better = (
                "better than" if d_S.mean() > half else "worse than" if -d_S.mean() > half else "not told apart from"
            )
            words.append(f"It is {better} {other.name}, drawn evenly ({d_S.mean():+.3f} ± {half:.3f}).")
    return words


def forecasts_in(facts: Mapping[str, Any]) -> dict[int, Mapping[str, float]]:
    """What was forecast of larger budgets before they were trained, by budget."""
    return {int(key.removeprefix(FORECAST)): value for key, value in facts.items() if key.startswith(FORECAST)}
