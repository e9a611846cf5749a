"""Synthetic families of search problems with a known truth; every seed draws another member.

"saturating" and "rugged" share a grid of five numbers: in the first every one helps, with diminishing returns; the second is a
smooth random function with interactions. "categorical" and "noisy-categorical" choose one of five operations at each of five
places, a pooling and a width: every choice has an effect of its own that no order of the words tells, and neighbours interact;
in the second the noise of one score is half of the truth's spread. Of every grid a budget of ±5 % admits a few percent, and the
cost spans more than an order of magnitude. Short trainings (the lower rung) see the truth shrunk, bent by another random function, and with
their own noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from halosearch.bench.table import Table

SPACE: dict[str, list[Any]] = {
    "depth": list(range(1, 13)),
    "width": [16, 24, 32, 48, 64, 96, 128, 192],
    "ratio": [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0],
    "window": [3, 5, 7, 9, 11],
    "size": [32, 48, 64, 96, 128],
}
WEIGHTS = {"skip": 0.0, "depthwise": 0.3, "conv1": 1.0, "attention": 4.0, "conv3": 9.0}
"""Operations and their parameters, in squares of the width."""
PLACES = tuple(f"operation{place}" for place in range(1, 6))
CHOICES: dict[str, list[Any]] = {
    **{place: list(WEIGHTS) for place in PLACES},
    "pooling": ["average", "blur", "max"],
    "width": [16, 20, 24, 32, 40, 48, 64, 80],
}
TOLERANCE = 0.05
RUNGS = (1000, 4000)
MIDDLING_SECONDS = 25.0
"""A middling training, as on the recorded CPU table: against it, the seconds that a sampler thinks are weighed."""
BEND, SHRUNK = 0.35, 0.7
"""Distortion of the lower rung, in standard deviations of the truth; slope of the lower rung."""
Function = Callable[[pd.DataFrame, np.random.Generator], np.ndarray]
"""A random function of rows, (rows,), of any spread."""


def grid(space: dict[str, list[Any]], counts: Callable[[pd.DataFrame], np.ndarray]) -> pd.DataFrame:
    """All combinations, with their size in parameters and their MACs."""
    rows = pd.DataFrame(list(itertools.product(*space.values())), columns=list(space))
    rows["params"], rows["macs"] = counts(rows).T
    return rows


def counts_of(rows: pd.DataFrame) -> np.ndarray:
    """Parameters and MACs of rows of numbers, (rows, 2)."""
    params = (rows["depth"] * rows["width"] ** 2 * (1 + rows["ratio"]) + 40 * rows["window"]).round()
    macs = ((rows["size"] / 4) ** 2 * (params + rows["depth"] * rows["width"] * rows["window"] ** 2)).round()
    return np.stack([params, macs], 1).astype(np.int64)


def counts_of_choices(rows: pd.DataFrame) -> np.ndarray:
    """Parameters and MACs of rows of words, (rows, 2): later places see a quarter of the pixels of the one before."""
    squares = rows["width"].to_numpy(float) ** 2
    weights = np.stack([rows[place].map(WEIGHTS).to_numpy(float) for place in PLACES], 1)
    pixels = 1024.0 / 4 ** np.arange(len(PLACES))
    params = (squares * (2 + weights.sum(1))).round()
    macs = (squares * (64 + weights @ pixels)).round()
    return np.stack([params, macs], 1).astype(np.int64)


def member(family: str, seed: int) -> Table:
    """One problem of a family: its pool is what the budget admits."""
    made = FAMILIES[family]
    rows = grid(made.space, made.counts)
    low, high = round(made.budget * (1 - TOLERANCE)), round(made.budget * (1 + TOLERANCE))
    rows = rows[(rows["params"] >= low) & (rows["params"] <= high)].reset_index(drop=True)
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    truth = _standard(made.truth(rows, rng))
    bent = SHRUNK * truth + BEND * _standard(made.bend(rows, rng))
    noise = made.noise * rng.standard_normal((len(rows), 1, len(RUNGS)))
    scores = np.stack([bent, truth], 1)[:, None] + noise
    seconds = rows["macs"].to_numpy(float) / float(np.median(rows["macs"]))
    shares = np.diff([0, *RUNGS]) / RUNGS[-1]
    by_rung = MIDDLING_SECONDS * (0.3 * (np.arange(len(RUNGS)) == 0) + 0.7 * seconds[:, None] * shares)
    facts = {"family": family, "seed": seed, "rows": len(rows), "noise": made.noise}
    features = tuple(made.space)
    return Table(f"{family}-{seed}", rows, features, RUNGS, scores, by_rung, (low, high), made.space, facts, truth)


def _unit(rows: pd.DataFrame) -> np.ndarray:
    columns = [np.log(rows[name].to_numpy(float)) for name in SPACE]
    return np.stack([(c - c.min()) / np.ptp(c) for c in columns], 1)


def _standard(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / values.std())


def _saturating(rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    unit = _unit(rows)
    weights, bends = rng.dirichlet(np.ones(unit.shape[1])), rng.uniform(1, 5, unit.shape[1])
    return np.asarray(((1 - np.exp(-bends * unit)) * weights).sum(1))


def _rugged(rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    unit = _unit(rows)
    return _standard(_smooth(unit, rng, 0.45)) + 0.5 * unit[:, -1]


def _bent(rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    return _smooth(_unit(rows), rng, 1.0)


def _smooth(unit: np.ndarray, rng: np.random.Generator, length: float) -> np.ndarray:
    """A draw from a Gaussian process, by 300 random Fourier features."""
    waves = rng.standard_normal((unit.shape[1], 300)) / length
    return np.asarray(np.cos(unit @ waves + rng.uniform(0, 2 * np.pi, 300)) @ rng.standard_normal(300))


def _choices(rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """An effect of every word at its place, and of every pair of words at neighbouring places; width helps."""
    words = [name for name in CHOICES if name != "width"]
    codes = [pd.Categorical(rows[name], categories=CHOICES[name]).codes for name in words]
    total = np.log(rows["width"].to_numpy(float))
    for code, name in zip(codes, words, strict=True):
        total = total + rng.standard_normal(len(CHOICES[name]))[code]
    for (one, a), (other, b) in itertools.pairwise(zip(codes, words, strict=True)):
        total = total + 0.6 * rng.standard_normal((len(CHOICES[a]), len(CHOICES[b])))[one, other]
    return np.asarray(total)


@dataclass(frozen=True, slots=True)
class Family:
    """What members share: a grid and its budget in parameters, what truths and bends are drawn from.

    `noise`: of one score, in standard deviations of the truth.
    """

    space: dict[str, list[Any]]
    counts: Callable[[pd.DataFrame], np.ndarray]
    budget: int
    truth: Function
    bend: Function
    noise: float


FAMILIES = {
    "saturating": Family(SPACE, counts_of, 60_000, _saturating, _bent, 0.15),
    "rugged": Family(SPACE, counts_of, 60_000, _rugged, _bent, 0.15),
    "categorical": Family(CHOICES, counts_of_choices, 22_000, _choices, _choices, 0.15),
    "noisy-categorical": Family(CHOICES, counts_of_choices, 22_000, _choices, _choices, 0.5),
}
