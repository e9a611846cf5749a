"""How far a proxy's ranking can be trusted: agreement between two seeds, its ceiling, the noise of one score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from halosearch.analysis.kendall import kendall_tau

MIN_PAIRS = 5
VALID_TAU, VALID_PAIRS = 0.7, 40
"""Statement R0: a search in a pool means something if test-retest agreement reaches .7 on 40 uniform candidates."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's tau between two seeds over `n` candidates, 95 % interval, noise and spread of scores.

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

    @property
    def valid(self) -> bool:
        """Whether R0 is shown: enough agreement, on enough candidates."""
        return self.tau >= VALID_TAU and self.n >= VALID_PAIRS

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in ("n", "tau", "low", "high", "noise", "spread", "ceiling")}


def test_retest(first: list[float], second: list[float]) -> Agreement | None:
    """Agreement of paired scores, or None where there are fewer than five pairs or all scores of a seed are equal."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if len(a) < MIN_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    tau = kendall_tau(a.tolist(), b.tolist())
    low, high = tau_interval(tau, len(a))
    noise = float(np.sqrt(np.mean((a - b) ** 2) / 2))
    spread = math.sqrt(max(0.0, float(np.var((a + b) / 2, ddof=1)) - noise**2 / 2))
    return Agreement(len(a), tau, low, high, noise, spread, tau_ceiling(noise, spread))


def tau_interval(tau: float, n: int) -> tuple[float, float]:
    """95 % interval of Kendall's tau from n pairs, by its z-transform with variance 0.437 / (n - 4).

    Source: Fieller, Hartley and Pearson, Biometrika 44 (1957). A bootstrap of few concordant pairs has no width at all;
    here a perfect sample counts as one half-discordant pair short of perfect.
    """
    most = 1 - 1 / (n * (n - 1) / 2)
    z = math.atanh(min(most, max(-most, tau)))
    half = 1.96 * math.sqrt(0.437 / (n - 4))
    return min(tau, math.tanh(z - half)), max(tau, math.tanh(z + half))


def tau_ceiling(noise: float, spread: float, seeds: int = 1) -> float:
    """Largest expected Kendall tau between a score with this noise over `seeds` runs and the true score (bivariate normal)."""
    if spread == 0:
        return 0.0
    return 2 / math.pi * math.asin(1 / math.sqrt(1 + (noise / spread) ** 2 / seeds))
