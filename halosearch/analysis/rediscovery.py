"""Are published members found again? Statements R1 to R5, each with its numbers, the limit fixed before, and a verdict.

R1 counts candidates drawn evenly that score better than the member; R2 compares the best that a search found with it, on images and
seeds that the search never used; R3 asks how near the two lie. R4 asks of several members whether the best found scale as they do, and
R5 whether the paper's trends appear in experiments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, theilslopes
from scipy.stats import t as student

from halosearch.analysis.verdicts import CONFIRMED, REFUTED

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
FOUND_AGAIN, IMPROVED, SEARCH_FAILED = "rediscovered", "improved under this proxy", "search failed"
SHARE, NEAR_SHARE = 0.25, 0.05
LEAST_MARGIN = 0.005
"""Half a point of score."""
LEAST_CELLS = 3
"""Members that a slope over their budgets needs."""
CELL_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement's verdict and its numbers in one sentence."""

    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One member that was searched for: its parameters and dials, every candidate's dials with its score, the noise of a score."""

    name: str
    params: int
    member: Mapping[str, float]
    candidates: Sequence[tuple[Mapping[str, float], float]]
    sd: float

    def best(self, rng: np.random.Generator | None) -> Mapping[str, float]:
        """Dials of the best candidate; with `rng` after the noise was drawn anew."""
        scores = np.array([score for _, score in self.candidates])
        if rng is not None:
            scores = scores + self.sd * rng.normal(size=len(scores))
        return self.candidates[int(scores.argmax())][0]


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


def found_again(best: Mapping[int, float], member: Mapping[int, float], sd: float | None, planned: int) -> Finding:
    """R2: 95 % interval of best found minus member, paired by seed, against the margin that the noise of a score fixed before.

    Scores by seed; `planned`: how many seeds were to be trained: before both have all of them nothing is decided.
    """
    seeds = sorted(set(best) & set(member))
    n = len(seeds)
    if sd is None or n < 3:
        return Finding(UNDECIDED, "held-out scores of both, or the noise of a score, are not there yet")
    d_S = np.array([best[seed] - member[seed] for seed in seeds])
    half = float(student.ppf(0.975, n - 1) * d_S.std(ddof=1) / math.sqrt(n))
    low, high, margin = float(d_S.mean()) - half, float(d_S.mean()) + half, margin_of(sd, planned)
    words = f"best found minus member {d_S.mean():+.3f} [{low:+.3f}, {high:+.3f}], {n} seeds each, margin ±{margin:.3f}"
    if n < planned:
        return Finding(UNDECIDED, f"{words}; {planned} seeds were to decide")
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


def scales_alike(cells: Sequence[Cell], seed: int = 0) -> tuple[Finding, list[dict[str, Any]]]:
    """R4: slopes of ln dial over ln parameters of the best found contain those of the members at the same budgets.

    A slope's range is of the noise of a score alone: every candidate's score is drawn anew and the best chosen again.
    """
    different = len({cell.params for cell in cells})
    if different < LEAST_CELLS:
        words = f"slopes need {LEAST_CELLS} members that were searched for; there are {different}"
        return Finding(UNDECIDED, words), []
    rng = np.random.default_rng(seed)
    drawn = [[cell.best(rng) for cell in cells] for _ in range(CELL_DRAWS)]
    params = [math.log(cell.params) for cell in cells]
    rows: list[dict[str, Any]] = []
    for dial in cells[0].member:
        member = [cell.member[dial] for cell in cells]
        found = [cell.best(None)[dial] for cell in cells]
        if min(member) <= 0 or any(each[dial] <= 0 for draw in drawn for each in draw) or min(found) <= 0:
            continue
        slopes = [_slope(params, [each[dial] for each in draw]) for draw in drawn]
        low, high = (float(end) for end in np.quantile(slopes, [0.025, 0.975]))
        own = _slope(params, member)
        rows.append({"dial": dial, "slope": _slope(params, found), "low": low, "high": high, "member": own})
    outside = [row["dial"].replace("_", " ") for row in rows if not row["low"] <= row["member"] <= row["high"]]
    words = "; ".join(
        f"{row['dial'].replace('_', ' ')} {row['slope']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] beside {row['member']:+.2f}"
        for row in rows
    )
    if not rows:
        return Finding(UNDECIDED, "every dial is nought somewhere, and has no logarithm"), rows
    if outside:
        return Finding(FAILED, f"{', '.join(outside)} scale otherwise: {words}"), rows
    wide = [row["dial"].replace("_", " ") for row in rows if row["low"] <= 0 <= row["high"] and row["member"] != 0]
    if wide:
        return Finding(UNDECIDED, f"{', '.join(wide)} cannot be told from not scaling at all: {words}"), rows
    return Finding(PASSED, words), rows


def _slope(x: Sequence[float], values: Sequence[float]) -> float:
    return float(theilslopes([math.log(value) for value in values], x).slope)


def trends_appear(verdicts: Mapping[str, Sequence[tuple[str, str]]]) -> Finding:
    """R5: every trend of the paper that was asked for is confirmed. `verdicts`: (expectation, verdict) by experiment."""
    judged = [each for found in verdicts.values() for each in found]
    if not judged:
        return Finding(
            UNDECIDED, "no experiment on the paper's trends is here: halosearch experiment studies/paper/window.yaml"
        )
    counts = {word: sum(verdict == word for _, verdict in judged) for word in (CONFIRMED, REFUTED)}
    refuted = [text for text, verdict in judged if verdict == REFUTED]
    words = (
        f"{counts[CONFIRMED]} of {len(judged)} trends confirmed, {counts[REFUTED]} refuted, "
        f"{len(judged) - sum(counts.values())} undecided in {', '.join(verdicts)}"
    )
    if refuted:
        return Finding(FAILED, f"{words}; refuted: {'; '.join(refuted)}")
    return Finding(PASSED if counts[CONFIRMED] == len(judged) else UNDECIDED, words)
