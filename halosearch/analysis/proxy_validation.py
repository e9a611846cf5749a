"""Whether a proxy may be searched with: agreement of two seeds, noise floor, trivial rankings, rungs, learning rates.

A proxy is refused where it is shown not to agree with itself or with a shorter training. One that says no more than a fit of its
dials ranks nevertheless, and dearly: that is told, and refuses nothing.

Everything here is about candidates drawn evenly from the pool: those that a search has chosen say nothing of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halosearch.analysis.kendall import kendall_tau
from halosearch.analysis.rank_agreement import (
    MIN_PAIRS,
    VALID_PAIRS,
    VALID_TAU,
    Agreement,
    tau_interval,
    test_retest,
)
from halosearch.analysis.reliability import beyond_dials, reliability

VALID, FAILED, UNKNOWN = "valid", "failed", "unknown"
RELIABLE, MORE, STABLE = "reliable", "more than the dials", "stable with length"
"""The three statements of R0."""
STABLE_TAU = 0.5
"""A shorter training is to put three of four pairs of candidates into the order of the longest (with another seed)."""


def validate(
    scores: Mapping[int, Sequence[float]],
    repeats: Mapping[int, Sequence[float]],
    features: Mapping[str, Mapping[int, float]],
    rates: Mapping[int, Mapping[float, float]],
    again: Mapping[int, Sequence[float]] | None = None,
    described: Mapping[int, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """All that is known of a proxy, as plain values.

    Args:
        scores: of evenly drawn candidates, by trial: one per rung, the last one final.
        repeats: final scores of the same candidates with other seeds.
        features: trivial rankings by name: a number per trial.
        rates: final scores by factor on the learning rate, per trial; factor 1 included.
        again: scores by rung of the same candidates with a second seed.
        described: dials and costs of candidates as numbers.
    """
    final = {trial: by_rung[-1] for trial, by_rung in scores.items()}
    paired = [trial for trial in sorted(final) if repeats.get(trial)]
    agreement = test_retest([final[t] for t in paired], [repeats[t][0] for t in paired])
    noise = noise_floor([[final[t], *repeats[t]] for t in paired])
    reliable, reason = judge(agreement, [final[t] for t in paired], [repeats[t][0] for t in paired])
    beyond = _beyond(final, repeats, [trial for trial in paired if trial in (described or {})], described or {})
    lengths = _lengths(final, again or {})
    statements = {RELIABLE: reliable, MORE: _more(beyond), STABLE: _stable(lengths)}
    return {
        "verdict": FAILED if FAILED in (statements[RELIABLE], statements[STABLE]) else reliable,
        "reason": "; ".join([reason, *_also_found(statements, lengths)]),
        "statements": statements,
        "candidates": len(final),
        "agreement": None if agreement is None else agreement.to_dict() | {"valid": agreement.valid},
        "reliability": _reliability(final, repeats, paired),
        "beyond": beyond,
        "lengths": lengths,
        "noise": noise,
        "baselines": {name: _against(final, values) for name, values in features.items()},
        "rungs": _rungs(scores),
        "rates": _rates(rates, noise),
    }


def _decided(tau: float, high: float, n: int, needed: float) -> str:
    """Shown by enough candidates; refuted by these, or by fewer whose whole interval lies below what is needed; or neither."""
    if n >= VALID_PAIRS:
        return VALID if tau >= needed else FAILED
    return FAILED if high < needed else UNKNOWN


def _more(beyond: Mapping[str, Any] | None) -> str:
    """Whether the proxy says more than a fit of dials and costs; with 40 candidates that show nothing beyond it, it does not."""
    rest = (beyond or {}).get("rest")
    if rest is None:
        return UNKNOWN
    if rest["low"] > 0:
        return VALID
    return FAILED if rest["n"] >= VALID_PAIRS else UNKNOWN


def _stable(lengths: Sequence[Mapping[str, Any] | None]) -> str:
    """Whether the longest of the shorter trainings ranks like the whole one."""
    nearest = lengths[-1] if lengths else None
    return UNKNOWN if nearest is None else _decided(nearest["tau"], nearest["high"], nearest["n"], STABLE_TAU)


def _also_found(statements: Mapping[str, str], lengths: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """What speaks against the proxy beside its agreement with itself."""
    found = []
    if statements[STABLE] == FAILED and lengths[-1] is not None:
        nearest = lengths[-1]
        found.append(
            f"a shorter training ranks otherwise: tau {nearest['tau']:.2f} [{nearest['low']:.2f}, {nearest['high']:.2f}], "
            f"n = {nearest['n']}, where {STABLE_TAU:g} is needed"
        )
    if statements[MORE] == FAILED:
        found.append("that it says more than a fit of dials and costs, which trains nothing, is not shown by so many")
    return found


def judge(agreement: Agreement | None, first: Sequence[float], second: Sequence[float]) -> tuple[str, str]:
    """R0's first statement, that the proxy agrees with itself: shown, refuted, or not decided by so few candidates; with the reason.

    Refuted is also a tau whose whole 95 % interval lies below .7, and a score that is the same for every candidate.
    """
    if agreement is None:
        if len(first) >= MIN_PAIRS and min(np.ptp(first), np.ptp(second)) == 0:
            return FAILED, f"with one of two seeds all {len(first)} candidates have the same score"
        return UNKNOWN, f"{len(first)} candidates were trained twice; at least {MIN_PAIRS} are needed to say anything"
    words = (
        f"test-retest Kendall tau {agreement.tau:.2f} [{agreement.low:.2f}, {agreement.high:.2f}], n = {agreement.n}"
    )
    verdict = _decided(agreement.tau, agreement.high, agreement.n, VALID_TAU)
    why = {
        VALID: f"R0 (tau of {VALID_TAU:g} on {VALID_PAIRS} candidates) holds",
        FAILED: f"R0 needs {VALID_TAU:g}",
        UNKNOWN: f"R0 needs {VALID_PAIRS} candidates to be decided",
    }
    return verdict, f"{words}: {why[verdict]}"


def noise_floor(groups: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Standard deviation of one score, pooled over candidates that were trained with two seeds or more; None for none."""
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return None
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group) * len(group)) for group in groups)
    return {
        "sd": math.sqrt(squares / freedom),
        "candidates": len(groups),
        "scores": sum(map(len, groups)),
        "degrees_of_freedom": freedom,
    }


def _against(final: Mapping[int, float], values: Mapping[int, float]) -> dict[str, Any] | None:
    """Kendall's tau of a trivial ranking with the scores; None where it cannot be told."""
    shared = [trial for trial in sorted(final) if trial in values]
    a, b = [final[t] for t in shared], [values[t] for t in shared]
    if len(shared) < MIN_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    tau = kendall_tau(a, b)
    low, high = tau_interval(tau, len(shared))
    return {"tau": tau, "low": low, "high": high, "n": len(shared)}


def _pairs(final: Mapping[int, float], repeats: Mapping[int, Sequence[float]], trials: Sequence[int]) -> np.ndarray:
    return np.array([[final[trial], repeats[trial][0]] for trial in trials], float).reshape(-1, 2)


def _reliability(
    final: Mapping[int, float], repeats: Mapping[int, Sequence[float]], paired: Sequence[int]
) -> dict[str, Any] | None:
    found = reliability(_pairs(final, repeats, paired))
    return None if found is None else found.to_dict()


def _beyond(
    final: Mapping[int, float],
    repeats: Mapping[int, Sequence[float]],
    paired: Sequence[int],
    described: Mapping[int, Sequence[float]],
) -> dict[str, Any] | None:
    if not paired:
        return None
    return beyond_dials(np.array([described[trial] for trial in paired], float), _pairs(final, repeats, paired))


def _lengths(final: Mapping[int, float], again: Mapping[int, Sequence[float]]) -> list[dict[str, Any] | None]:
    """How shorter trainings with a second seed rank like the longest with the first, by rung: stability with length, noise and all."""
    rungs = max((len(by_rung) for by_rung in again.values()), default=0)
    whole = {trial: by_rung for trial, by_rung in again.items() if len(by_rung) == rungs and trial in final}
    return [_against(final, {t: by_rung[rung] for t, by_rung in whole.items()}) for rung in range(rungs - 1)]


def _rungs(scores: Mapping[int, Sequence[float]]) -> list[dict[str, Any] | None]:
    """How each lower rung ranks against the last one, same seeds."""
    rungs = max((len(by_rung) for by_rung in scores.values()), default=0)
    whole = {trial: by_rung for trial, by_rung in scores.items() if len(by_rung) == rungs}
    final = {trial: by_rung[-1] for trial, by_rung in whole.items()}
    return [_against(final, {t: by_rung[rung] for t, by_rung in whole.items()}) for rung in range(rungs - 1)]


def _rates(rates: Mapping[int, Mapping[float, float]], noise: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the rule for learning rates loses against the best of the rates tried, and whether that is below one noise deviation."""
    if not rates:
        return None
    loss = {trial: max(scores.values()) - scores[1.0] for trial, scores in rates.items() if 1.0 in scores}
    worst = max(loss.values(), default=0.0)
    return {
        "scores": {str(t): {f"{factor:g}": score for factor, score in s.items()} for t, s in sorted(rates.items())},
        "worst_loss": worst,
        "holds": None if noise is None else worst < noise["sd"],
    }
