"""Is a published member found again? Statements R1 to R3, each with its numbers, the limit fixed before, and a verdict.

R1 counts candidates drawn evenly that score better than the member; R2 compares the best that a search found with it, on images and
seeds that the search never used; R3 asks how near the two lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta
from scipy.stats import t as student

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
FOUND_AGAIN, IMPROVED, SEARCH_FAILED = "rediscovered", "improved under this proxy", "search failed"
SHARE, NEAR_SHARE = 0.25, 0.05
LEAST_MARGIN = 0.005
"""Half a point of score."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement's verdict and its numbers in one sentence."""

    verdict: str
    why: str


def upper_share(better: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper bound on a share (Clopper and Pearson, 1934)."""
    return 1.0 if better >= n else float(beta.ppf(confidence, better + 1, n - better))


def member_is_good(even: Sequence[float], member: float | None) -> Finding:
    """R1: at most a quarter of all candidates score better than the member, with 95 % confidence; one training of each."""
    if member is None or not even:
        return Finding(UNDECIDED, "the member or the candidates drawn evenly have no score yet")
    better = sum(score > member for score in even)
    bound = upper_share(better, len(even))
    words = (
        f"{better} of {len(even)} candidates drawn evenly score better than its {member:.3f} in a training of the same length and seed: at most "
        f"{100 * bound:.0f} % of all, with 95 %"
    )
    if bound <= SHARE:
        return Finding(PASSED, words)
    low = 1 - upper_share(len(even) - better, len(even))
    return Finding(FAILED if low > SHARE else UNDECIDED, f"{words} (at least {100 * low:.0f} %)")


def margin_of(sd: float, seeds: int) -> float:
    """The margin of R2: half a point, or twice the standard error of a mean of so many seeds."""
    return max(LEAST_MARGIN, 2 * sd / math.sqrt(seeds))


def found_again(best: Sequence[float], member: Sequence[float], sd: float | None) -> Finding:
    """R2: 95 % interval of best found minus member, paired by seed, against the margin that the noise of a score fixed before."""
    n = min(len(best), len(member))
    if sd is None or n < 3:
        return Finding(UNDECIDED, "held-out scores of both, or the noise of a score, are not there yet")
    d_S = np.array(best[:n]) - np.array(member[:n])
    half = float(student.ppf(0.975, n - 1) * d_S.std(ddof=1) / math.sqrt(n))
    low, high, margin = float(d_S.mean()) - half, float(d_S.mean()) + half, margin_of(sd, n)
    words = f"best found minus member {d_S.mean():+.3f} [{low:+.3f}, {high:+.3f}], {n} seeds each, margin ±{margin:.3f}"
    if -margin <= low and high <= margin:
        return Finding(PASSED, f"{FOUND_AGAIN}: {words}")
    if low > margin:
        return Finding(PASSED, f"{IMPROVED}: {words}")
    return Finding(FAILED, f"{SEARCH_FAILED}: {words}") if high < -margin else Finding(UNDECIDED, words)


def lies_near(best: Mapping[str, float], member: Mapping[str, float], rows: Sequence[Mapping[str, float]]) -> Finding:
    """R3: the distance in logarithms of the dials (of 1 + value, over the spread among the rows) is below the 5 % quantile of the rows'."""
    if not rows:
        return Finding(UNDECIDED, "no candidates were drawn evenly")
    logs = np.log1p(np.array([[row[name] for name in member] for row in rows], dtype=float))
    spread = np.where(logs.std(0) > 0, logs.std(0), 1.0)
    there = np.log1p(np.array([member[name] for name in member], dtype=float))
    distances = np.sqrt((((logs - there) / spread) ** 2).sum(1))
    own = float(
        np.sqrt((((np.log1p(np.array([best[name] for name in member], dtype=float)) - there) / spread) ** 2).sum())
    )
    limit = float(np.quantile(distances, NEAR_SHARE))
    words = (
        f"distance {own:.2f} of the best found, 5 % of {len(rows)} rows of the pool drawn evenly lie within {limit:.2f}"
    )
    return Finding(PASSED if own < limit else FAILED, words)
