"""How far a proxy's ranking can be trusted: agreement between two seeds, its ceiling, the noise of one score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BOOTSTRAPS = 2000
MIN_PAIRS = 4
VALID_TAU = 0.7
"""Test-retest agreement below which a search in the cell means little (statement R0)."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's tau between two seeds over `n` candidates, 95 % bootstrap interval, noise and spread of scores.

    `ceiling` is the tau that this noise allows between one seed and the truth: (2/pi) asin(1/sqrt(1 + q^2)) with
    q = noise / spread of the candidates' true scores.
    """

    n: int
    tau: float
    low: float
    high: float
    noise: float
    spread: float
    ceiling: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in ("n", "tau", "low", "high", "noise", "spread", "ceiling")}


def test_retest(first: list[float], second: list[float]) -> Agreement | None:
    """Agreement of paired scores, or None where there are fewer than four pairs or all scores of a seed are equal."""
    from scipy.stats import kendalltau  # a second of import, which most commands do not need

    a, b = np.asarray(first, float), np.asarray(second, float)
    if len(a) < MIN_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(BOOTSTRAPS):
        pick = rng.integers(0, len(a), len(a))
        if np.ptp(a[pick]) > 0 and np.ptp(b[pick]) > 0:
            draws.append(kendalltau(a[pick], b[pick]).statistic)
    low, high = np.percentile(draws, (2.5, 97.5))
    noise = float(np.sqrt(np.mean((a - b) ** 2) / 2))
    spread = math.sqrt(max(0.0, float(np.var((a + b) / 2, ddof=1)) - noise**2 / 2))
    return Agreement(
        len(a), float(kendalltau(a, b).statistic), float(low), float(high), noise, spread, tau_ceiling(noise, spread)
    )


def tau_ceiling(noise: float, spread: float, seeds: int = 1) -> float:
    """Largest expected Kendall tau between a score with this noise over `seeds` runs and the true score (bivariate normal)."""
    if spread == 0:
        return 0.0
    return 2 / math.pi * math.asin(1 / math.sqrt(1 + (noise / spread) ** 2 / seeds))
