"""Step times of networks whose parts are not timed, from those of their family that were: the law of MACs and activations, audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from halosearch.analysis.kendall import kendall_tau
from halosearch.analysis.rough_step_times import StepLaw, step_law
from halosearch.cost.step_time import spread_of
from halosearch.families.known import family_of
from halosearch.record.candidates import config_of
from halosearch.record.evaluation import Evaluation

MIN_TIMED = 8
"""Timed members of a family that a law needs, so that what it misses can be said."""


@dataclass(frozen=True, slots=True)
class FamilyLaw:
    """A law of the steps of one family on one machine. `spread`: half-width of the 95 % interval of one step, in logarithms.

    `range`: least and largest MACs that were timed. `audit`: n, mean absolute relative error, Kendall's tau and half-width of members left out.
    """

    law: StepLaw
    spread: float
    range: tuple[float, float]
    audit: dict[str, Any]

    def predict(self, costs: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of a step with the 95 % interval, and whether the network lies beyond what was timed."""
        seconds, width = self.law.seconds(costs), float(np.exp(self.spread))
        return {
            "predicted_step_time_s": seconds,
            "predicted_step_time_low_s": seconds / width,
            "predicted_step_time_high_s": seconds * width,
            "extrapolated": not self.range[0] <= float(costs["macs"]) <= self.range[1],
        }


def timed_of(rows: Sequence[Evaluation], family: str) -> list[tuple[Mapping[str, Any], float]]:
    """Costs and measured step times of a family's timed networks, candidates and rivals alike, each once."""
    found = {}
    for row in rows:
        if row.costs and row.candidate and "step_time_s" in row.result:
            config = config_of(row.candidate)
            if family_of(config).name == family:
                found[config] = (row.costs, float(row.result["step_time_s"]))
    return list(found.values())


def law_of(timed: Sequence[tuple[Mapping[str, Any], float]]) -> FamilyLaw | None:
    """The law of these steps, and how far it missed each of them fitted to the others; None below `MIN_TIMED`."""
    if len(timed) < MIN_TIMED:
        return None
    measured = np.array([seconds for _, seconds in timed])
    unseen = np.array([step_law([*timed[:k], *timed[k + 1 :]]).seconds(costs) for k, (costs, _) in enumerate(timed)])
    macs = [float(costs["macs"]) for costs, _ in timed]
    spread = spread_of(np.log(measured / unseen))
    audit = {
        "trials": len(timed),
        "mape": float(np.mean(np.abs(unseen / measured - 1))),
        "kendall_tau": kendall_tau(unseen.tolist(), measured.tolist()),
        "half_width": float(np.exp(spread) - 1),
    }
    return FamilyLaw(step_law(timed), spread, (min(macs), max(macs)), audit)
