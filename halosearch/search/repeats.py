"""The evaluations around a search: checks of the proxy before it, held-out evaluations of the finalists after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halosearch.analysis.frontier import complete, frontier
from halosearch.analysis.rough_step_times import costed
from halosearch.record.evaluation import HELD_OUT, RATE, RETEST, Evaluation
from halosearch.record.trials import trials_of
from halosearch.search.sampler import Outcome

SEED_STEP = 1_000_003
"""Seeds of repeats lie this far apart; those of the finals begin beyond all others."""
FINAL_SEEDS_FROM = 100
ANCHORS = 3
RATES = {1: 0.5, 2: 2.0}
"""Factors on the learning rate that are audited, by repeat number."""
Dials = Callable[[int], Mapping[str, Any]]
"""The dials of a trial, by its number."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How many repeats a study asks for.

    `retests` candidates are trained with a second seed, three of them with `anchor_seeds` in all; the learning rate of `rates`
    candidates is audited, those at the ends of the dials `corners`; `finalists` are trained with `final_seeds` seeds more and scored on
    held-out images.
    """

    retests: int = 0
    anchor_seeds: int = 2
    rates: int = 0
    finalists: int = 0
    final_seeds: int = 0
    corners: tuple[str, str] = ("stage3_depth", "expansion_ratio")


def checks(design: Repeats, uniform: int, seed: int, outcomes: Mapping[int, Outcome], dials: Dials) -> list[Evaluation]:
    """Retests of the first candidates, more seeds of three anchors, other rates of the corners, as far as they are known yet.

    Anchors are the cheapest, the middle and the dearest of the candidates trained twice; corners (of HaloNets) the deepest candidate and
    those with the narrowest and the widest bottleneck, where a rule for learning rates is most likely to fail. With more outcomes the
    list only grows at its end. Rows come without id, candidate and costs.
    """
    scored: list[int] = []
    for number in range(uniform):
        if number not in outcomes:
            break
        if outcomes[number].scores is not None:
            scored.append(number)
    again = scored[: design.retests]
    found = [_about(RETEST, n, seed=seed + SEED_STEP) for n in again]
    if len(outcomes) < uniform or not scored:
        return found
    by_cost = sorted(again, key=lambda n: (outcomes[n].cost, n))
    anchors = sorted({by_cost[0], by_cost[len(by_cost) // 2], by_cost[-1]}) if len(by_cost) >= ANCHORS else []
    found += [
        _about(RETEST, n, seed=seed + SEED_STEP * repeat, repeat=repeat)
        for n in anchors
        for repeat in range(2, design.anchor_seeds)
    ]
    return found + [
        _about(RATE, n, seed=seed, repeat=repeat, rate=factor)
        for n in (corners(scored, dials, design.corners)[: design.rates] if design.rates else ())
        for repeat, factor in RATES.items()
    ]


def _about(kind: str, trial: int, **differs: Any) -> Evaluation:
    return Evaluation(-1, kind, {}, trial=trial, **differs)


def corners(trials: Sequence[int], dials: Dials, of: tuple[str, str]) -> list[int]:
    """The trial with the largest value of one dial, and those with the largest and the smallest of another; each once."""
    depth, width = of
    chosen = [
        max(trials, key=lambda n: (dials(n)[depth], -n)),
        max(trials, key=lambda n: (dials(n)[width], -n)),
        min(trials, key=lambda n: (dials(n)[width], n)),
    ]
    return list(dict.fromkeys(chosen))


def final_seed(seed: int, repeat: int) -> int:
    """The seed of a final's repeat, finalists' and rivals' alike."""
    return seed + SEED_STEP * (FINAL_SEEDS_FROM + repeat)


def finals(design: Repeats, seed: int, rows: Sequence[Evaluation]) -> list[Evaluation]:
    """The finalists, each with its seeds: the best scores of the front, then the best of the rest where the front is short."""
    return [
        _about(HELD_OUT, n, seed=final_seed(seed, repeat), repeat=repeat)
        for n in finalists(design.finalists, rows)
        for repeat in range(1, design.final_seeds + 1)
    ]


def finalists(most: int, rows: Sequence[Evaluation]) -> list[int]:
    """Numbers of the trials that get the last word."""
    if not most:
        return []
    trials = costed(trials_of(rows))
    done, front = complete(trials), frontier(trials)
    if done.empty:
        return []
    by_score = done.sort_values(["score", "trial"], ascending=[False, True])["trial"]
    on_front = set(front["trial"])
    ordered = [n for n in by_score if n in on_front] + [n for n in by_score if n not in on_front]
    return [int(n) for n in ordered[:most]]
