"""A median with its interval, without a word on how samples are distributed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
ENOUGH = 6
"""Samples from which on an interval holds with 95 %."""
WIDE = 0.02
"""An interval of more than +-2 % does not separate neighbours; it is marked, not hidden."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A median with its interval over rounds (see `interval`)."""

    median: float
    low: float
    high: float

    @property
    def wide(self) -> bool:
        """Whether half the interval exceeds 2 % of the median."""
        return (self.high - self.low) / 2 > WIDE * self.median

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"median": self.median, "low": self.low, "high": self.high}


def interval(samples: Any) -> Measured:
    """Median and the order-statistics interval that holds the true median with at least 95 %; of fewer than six samples, their range.

    It assumes no distribution (B. W. Lindgren, Statistical Theory, section 9.4: the signs about the median are binomial). A
    bootstrap of seven samples is too narrow: it held the median in 88 % of the cases. The range of five holds it in 94 %.
    """
    ordered, n = np.sort(np.asarray(samples, dtype=float)), len(samples)
    rank = 1
    while rank < n // 2 and 1 - 2 * _share_below(rank + 1, n) >= CONFIDENCE:
        rank += 1
    return Measured(float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[n - rank]))


def _share_below(rank: int, n: int) -> float:
    """Probability that fewer than `rank` of `n` samples lie below their median."""
    return sum(math.comb(n, below) for below in range(rank)) / 2.0**n
