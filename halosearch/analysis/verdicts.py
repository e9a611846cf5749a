"""Expectations judged by what was measured: paired differences, intervals that hold for all comparisons together, verdicts.

Every expectation is two tests, that it holds and that the contrary holds, each against the whole family (Holm, 1979): confirmed,
refuted, or undecided. The interval beside a verdict has the level at which Holm's procedure looked at it, so that both say the same.

Shape suffixes: S seeds (or rounds of timing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, nct
from scipy.stats import t as student

from halosearch.analysis.expectations import SCORE, Expectation

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
ALPHA, POWER = 0.05, 0.8
LEAST = 3
"""Differences below which nothing is judged."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an expectation.

    `effect` with its interval (`low`, `high`, at confidence `level`): of scores the mean of the sum that was expected to be above (or
    near) `bound`; of step times the median ratio. `differences`: one for each seed.
    """

    expectation: Expectation
    verdict: str
    n: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p: float | None = None
    differences: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tested:
    """Differences from the bound, with the two-sided p of the better of the two claims, and whether that claim is the expected one."""

    expectation: Expectation
    x_S: np.ndarray
    p: float
    holds: bool


def judge(
    expected: Sequence[Expectation], measured: Mapping[str, Mapping[str, Mapping[object, float]]]
) -> list[Verdict]:
    """A verdict for every expectation; `measured` is metric -> arm -> seed (or round) -> value, scores as they are, times in seconds."""
    tested = [_test(each, differences(each, measured.get(each.metric, {}))) for each in expected]
    order = sorted((n for n, each in enumerate(tested) if len(each.x_S) >= LEAST), key=lambda n: tested[n].p)
    found: dict[int, Verdict] = {}
    still, alpha = True, ALPHA / max(1, len(tested))
    for rank, n in enumerate(order):
        if still:  # behind the first that is not decided nothing is, and its level is that of all that follow
            alpha = ALPHA / (len(tested) - rank)
        still = still and tested[n].p <= alpha
        found[n] = _verdict(tested[n], alpha, decided=still)
    return [found.get(n) or Verdict(each.expectation, UNDECIDED, len(each.x_S)) for n, each in enumerate(tested)]


def differences(each: Expectation, values: Mapping[str, Mapping[object, float]]) -> np.ndarray:
    """The weighted sum for every seed that all its arms have; of logarithms for step times."""
    arms = [values.get(arm, {}) for arm in each.weights]
    seeds = [seed for seed in arms[0] if all(seed in arm for arm in arms[1:])]
    take = math.log if each.metric != SCORE else float
    return np.array([sum(w * take(arm[s]) for w, arm in zip(each.weights.values(), arms, strict=True)) for s in seeds])


def _test(each: Expectation, x_S: np.ndarray) -> _Tested:
    if len(x_S) < LEAST:
        return _Tested(each, x_S, 1.0, holds=False)
    if each.margin is None:
        yes, no = _p_above(each, x_S, each.bound), _p_above(each, -x_S, -each.bound)
    else:
        low, high = each.bound - each.margin, each.bound + each.margin
        yes = max(_p_above(each, x_S, low), _p_above(each, -x_S, -high))
        no = min(_p_above(each, x_S, high), _p_above(each, -x_S, -low))
    return _Tested(each, x_S, min(1.0, 2 * min(yes, no)), holds=yes <= no)


def _p_above(each: Expectation, x_S: np.ndarray, bound: float) -> float:
    """One-sided p against "not above the bound": Student's t for scores; for times the signs of the differences alone."""
    if each.metric != SCORE:
        return float(binom.cdf(int((x_S <= bound).sum()), len(x_S), 0.5))
    error = x_S.std(ddof=1) / math.sqrt(len(x_S))
    if error == 0:
        return float(x_S.mean() <= bound)
    return float(student.sf((x_S.mean() - bound) / error, len(x_S) - 1))


def _verdict(tested: _Tested, alpha: float, *, decided: bool) -> Verdict:
    each, x_S = tested.expectation, tested.x_S
    verdict = (CONFIRMED if tested.holds else REFUTED) if decided else UNDECIDED
    if each.metric == SCORE:
        middle, half = float(x_S.mean()), half_width(x_S, alpha)
        ends = (middle - half, middle, middle + half)
    else:
        ends = _ratio_interval(x_S, alpha)
    return Verdict(
        each, verdict, len(x_S), ends[1], ends[0], ends[2], 1 - alpha, tested.p,
        tuple(x_S.tolist()),
    )  # fmt: skip


def detectable(verdict: Verdict, comparisons: int) -> float | None:
    """The least distance from the bound (the least margin) that so many seeds show in four of five experiments, by the spread found.

    None for step times, and where nothing is known.
    """
    n = verdict.n
    if verdict.expectation.metric != SCORE or n < LEAST or not (sd := float(np.std(verdict.differences, ddof=1))):
        return None
    least = detectable_effect if verdict.expectation.margin is None else detectable_margin
    return least(sd, n, comparisons)


def half_width(x_S: np.ndarray, alpha: float) -> float:
    """Half of the interval of a mean at confidence 1 - alpha, by Student's t."""
    return float(student.ppf(1 - alpha / 2, len(x_S) - 1) * x_S.std(ddof=1) / math.sqrt(len(x_S)))


def _ratio_interval(x_S: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """Median ratio with the order-statistics interval of at least 1 - alpha; from 0 or to infinity where there are too few rounds."""
    ordered, n = np.sort(x_S), len(x_S)
    rank = 0
    while rank < n // 2 and 2 * binom.cdf(rank, n, 0.5) <= alpha:
        rank += 1
    low, high = (ordered[rank - 1], ordered[n - rank]) if rank else (-math.inf, math.inf)
    return math.exp(low), math.exp(float(np.median(x_S))), math.exp(high)


def power_of(effect: float, sd: float, seeds: int, comparisons: int) -> float:
    """Chance that a true distance from the bound is shown, differences having standard deviation `sd` (Bonferroni, two-sided)."""
    crit = student.ppf(1 - ALPHA / (2 * comparisons), seeds - 1)
    found = float(nct.sf(crit, seeds - 1, effect * math.sqrt(seeds) / sd))
    return found if math.isfinite(found) else 1.0  # so far beyond the critical value that the series ends


def detectable_effect(sd: float, seeds: int, comparisons: int) -> float | None:
    """The least true distance from the bound that is shown with power `POWER`."""
    if seeds < 2 or sd <= 0:
        return None
    low, high = 0.0, sd
    while power_of(high, sd, seeds, comparisons) < POWER:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle, sd, seeds, comparisons) >= POWER else (middle, high)
    return high


def detectable_margin(sd: float, seeds: int, comparisons: int) -> float:
    """The least margin within which two equal arms are shown to be with power `POWER`."""
    crit = student.ppf(1 - ALPHA / (2 * comparisons), seeds - 1)
    return float((crit + student.ppf((1 + POWER) / 2, seeds - 1)) * sd / math.sqrt(seeds))


def seeds_for(effect: float, sd: float, comparisons: int, most: int = 1000) -> int | None:
    """The fewest seeds that show a true distance from the bound with power `POWER`; None above `most`."""
    return next((n for n in range(LEAST, most + 1) if power_of(effect, sd, n, comparisons) >= POWER), None)
