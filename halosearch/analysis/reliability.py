"""What a proxy's scores are worth: how reliable they are, and what they say beyond a linear fit of dials and costs.

Shape suffixes: N candidates, F features; 2 seeds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from halosearch.analysis.kendall import kendall_tau
from halosearch.analysis.rank_agreement import MIN_PAIRS, tau_interval

RIDGE = 1.0
"""Of the linear fit to standardised features: enough for a dozen candidates, little for a hundred."""
MOST = 1 - 1e-9
FOR_EACH_FEATURE = 3
"""Candidates that a fit needs for each of its features."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Two-way intraclass correlation of single scores (consistency): the share of their variance that candidates make, with 95 % interval."""

    n: int
    icc: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def reliability(scores_N2: np.ndarray) -> Reliability | None:
    """ICC(C,1) of scores by candidate with two seeds, which may differ in level. None below five candidates, or without any variance.

    Interval: Fisher's z of the intraclass correlation (Metron 1, 1921), with variance 1/(n - 2) instead of his 1/(n - 3/2), which
    covers too little below ten pairs.
    """
    n = len(scores_N2)
    if n < MIN_PAIRS:
        return None
    centred_N2 = scores_N2 - scores_N2.mean(0)
    mean_N, half_N = centred_N2.mean(1), (centred_N2[:, 0] - centred_N2[:, 1]) / 2
    between, within = float(mean_N @ mean_N), float(half_N @ half_N)
    if between + within <= 0:
        return None
    icc = (between - within) / (between + within)
    z, half = math.atanh(max(-MOST, min(MOST, icc))), 1.96 / math.sqrt(n - 2)
    return Reliability(n, icc, min(icc, math.tanh(z - half)), max(icc, math.tanh(z + half)))


def predicted_without_itself(features_NF: np.ndarray, score_N: np.ndarray) -> np.ndarray:
    """Every candidate's score as a ridge regression on the others' features expects it (closed form)."""
    deviation_F = features_NF.std(0)
    x = (features_NF - features_NF.mean(0))[:, deviation_F > 0] / deviation_F[deviation_F > 0]
    x = np.column_stack([np.ones(len(x)), x])
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    hat = x @ np.linalg.solve(x.T @ x + penalty, x.T)
    leverage = np.diag(hat)
    fitted: np.ndarray = (hat @ score_N - leverage * score_N) / (1 - leverage)
    return fitted


def beyond_dials(features_NF: np.ndarray, scores_N2: np.ndarray) -> dict[str, Any] | None:
    """How far dials and costs alone rank the candidates, and whether the proxy agrees with itself about the rest.

    Returns: n; `tau` of the leave-one-out fit to one seed with the other seed's scores, mean of both ways, with interval; `rest`, the
        reliability of what two seeds leave unexplained: its interval lies above 0 where the proxy says more than the dials. `rest` is
        None with too few candidates to fit so many features: what the fit misses would be taken for what the proxy knows. None
        below five candidates or where all scores of a seed are equal.
    """
    n = len(scores_N2)
    if n < MIN_PAIRS or np.ptp(scores_N2, axis=0).min() == 0:
        return None
    expected_N2 = np.column_stack([predicted_without_itself(features_NF, score) for score in scores_N2.T])
    if np.ptp(expected_N2, axis=0).min() == 0:
        return None
    tau = float(np.mean([kendall_tau(expected_N2[:, i].tolist(), scores_N2[:, 1 - i].tolist()) for i in (0, 1)]))
    low, high = tau_interval(tau, n)
    enough = n >= FOR_EACH_FEATURE * features_NF.shape[1]
    rest = reliability(scores_N2 - expected_N2) if enough else None
    return {"n": n, "tau": tau, "low": low, "high": high, "rest": None if rest is None else rest.to_dict()}
