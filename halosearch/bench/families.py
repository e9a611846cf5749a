"""Synthetic families of search problems with a known truth; every seed draws another member.

All share a grid of five features, a size that a budget of ±5 % admits a few percent of, and a cost that spans an order of
magnitude. "saturating": every feature helps, with diminishing returns. "rugged": a smooth random function with interactions.
Short trainings (the lower rung) see the truth shrunk, bent by another random function, and with their own noise.
"""

from __future__ import annotations

import itertools
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
BUDGET, TOLERANCE = 60_000, 0.05
RUNGS = (1000, 4000)
MIDDLING_SECONDS = 25.0
"""A middling training, as on the recorded CPU table: against it, the seconds that a sampler thinks are weighed."""
NOISE, BEND, SHRUNK = 0.15, 0.35, 0.7
"""Noise of a score, distortion of the lower rung, slope of the lower rung: all in standard deviations of the truth."""


def grid() -> pd.DataFrame:
    """All combinations, with their size in parameters and their MACs."""
    values: list[list[Any]] = list(SPACE.values())
    rows = pd.DataFrame(list(itertools.product(*values)), columns=list(SPACE))
    rows["params"], rows["macs"] = counts_of(rows).T
    return rows


def counts_of(rows: pd.DataFrame) -> np.ndarray:
    """Parameters and MACs of feature combinations, (rows, 2)."""
    params = (rows["depth"] * rows["width"] ** 2 * (1 + rows["ratio"]) + 40 * rows["window"]).round()
    macs = ((rows["size"] / 4) ** 2 * (params + rows["depth"] * rows["width"] * rows["window"] ** 2)).round()
    return np.stack([params, macs], 1).astype(np.int64)


def member(family: str, seed: int) -> Table:
    """One problem of a family: its pool is what the budget admits."""
    rows = grid()
    low, high = round(BUDGET * (1 - TOLERANCE)), round(BUDGET * (1 + TOLERANCE))
    rows = rows[(rows["params"] >= low) & (rows["params"] <= high)].reset_index(drop=True)
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    unit = _unit(rows)
    truth = _standard(_saturating(unit, rng) if family == "saturating" else _rugged(unit, rng))
    bent = SHRUNK * truth + BEND * _standard(_smooth(unit, rng, 1.0))
    noise = NOISE * rng.standard_normal((len(rows), 1, len(RUNGS)))
    scores = np.stack([bent, truth], 1)[:, None] + noise
    seconds = rows["macs"].to_numpy(float) / float(np.median(rows["macs"]))
    shares = np.diff([0, *RUNGS]) / RUNGS[-1]
    by_rung = MIDDLING_SECONDS * (0.3 * (np.arange(len(RUNGS)) == 0) + 0.7 * seconds[:, None] * shares)
    facts = {"family": family, "seed": seed, "rows": len(rows), "noise": NOISE}
    return Table(f"{family}-{seed}", rows, tuple(SPACE), RUNGS, scores, by_rung, (low, high), SPACE, facts, truth)


def _unit(rows: pd.DataFrame) -> np.ndarray:
    columns = [np.log(rows[name].to_numpy(float)) for name in SPACE]
    return np.stack([(c - c.min()) / np.ptp(c) for c in columns], 1)


def _standard(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / values.std())


def _saturating(unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weights, bends = rng.dirichlet(np.ones(unit.shape[1])), rng.uniform(1, 5, unit.shape[1])
    return np.asarray(((1 - np.exp(-bends * unit)) * weights).sum(1))


def _rugged(unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _standard(_smooth(unit, rng, 0.45)) + 0.5 * unit[:, -1]


def _smooth(unit: np.ndarray, rng: np.random.Generator, length: float) -> np.ndarray:
    """A draw from a Gaussian process, by 300 random Fourier features."""
    waves = rng.standard_normal((unit.shape[1], 300)) / length
    return np.asarray(np.cos(unit @ waves + rng.uniform(0, 2 * np.pi, 300)) @ rng.standard_normal(300))


FAMILIES = ("saturating", "rugged")
