"""Step times of candidates that were not timed, from those that were: a law of MACs and activations, and whom to time by it.

ln time = a + b ln MACs + c ln activations, fitted by ridge regression towards b = c = 1/2. With nothing timed only ratios mean something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from halosearch.record.evaluation import COMPLETE
from halosearch.record.trials import Trial, table

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("macs", "activations")
SLOPE = 0.5
RIDGE = 1.0
"""Weight of the assumed slopes, in timed candidates whose ln costs deviate by 1."""
NEAR = 1.25
"""A candidate is near the front if it would be on it were it so many times faster than expected."""


@dataclass(frozen=True, slots=True)
class StepLaw:
    """Expected seconds of a training step (of any unit where nothing was timed)."""

    middle: tuple[float, ...]
    slopes: tuple[float, ...]
    level: float

    def seconds(self, costs: Mapping[str, Any]) -> float:
        """Of a candidate of these costs."""
        return float(np.exp(self.level + np.dot(_logs(costs) - self.middle, self.slopes)))


def step_law(timed: Sequence[tuple[Mapping[str, Any], float]]) -> StepLaw:
    """The law of these (costs, seconds)."""
    assumed = np.full(len(COSTS), SLOPE)
    if not timed:
        return StepLaw((0.0,) * len(COSTS), tuple(assumed), 0.0)
    x, y = np.array([_logs(costs) for costs, _ in timed]), np.log([seconds for _, seconds in timed])
    middle, level = x.mean(0), float(y.mean())
    x = x - middle
    more = np.linalg.solve(x.T @ x + RIDGE * np.eye(len(COSTS)), x.T @ (y - level - x @ assumed))
    return StepLaw(tuple(middle.tolist()), tuple((assumed + more).tolist()), level)


def _logs(costs: Mapping[str, Any]) -> np.ndarray:
    return np.log([float(costs[name]) for name in COSTS])


def step_seconds(trials: Sequence[Trial]) -> dict[int, float]:
    """Seconds of every complete trial: measured, or expected by the law of those that are."""
    done = [trial for trial in trials if trial.state == COMPLETE]
    measured = {t.number: float(t.result["step_time_s"]) for t in done if "step_time_s" in t.result}
    law = step_law([(t.costs, measured[t.number]) for t in done if t.number in measured])
    return {t.number: measured.get(t.number, law.seconds(t.costs)) for t in done}


def costed(trials: Sequence[Trial]) -> pd.DataFrame:
    """The table of trials with a step time for every complete one: measured, or expected where `measured` is False."""
    rows = table(list(trials))
    if rows.empty:
        return rows
    expected = step_seconds(trials)
    measured = rows["step_time_s"].notna()
    return rows.assign(
        step_time_s=rows["step_time_s"].astype(float).fillna(rows["trial"].map(expected)), measured=measured
    )


def worth_timing(trials: Sequence[Trial]) -> list[int]:
    """Numbers of the complete trials that are on or near the front as far as is known, and were not timed; best scores first."""
    done = [trial for trial in trials if trial.state == COMPLETE]
    expected = step_seconds(trials)
    scores, costs = np.array([t.result["score"] for t in done]), np.array([expected[t.number] for t in done])
    found = []
    for trial, score, cost in zip(done, scores, costs / NEAR, strict=True):
        beaten = (scores >= score) & (costs <= cost) & ((scores > score) | (costs < cost))
        if "step_time_s" not in trial.result and not beaten.any():
            found.append(trial)
    return [trial.number for trial in sorted(found, key=lambda trial: (-trial.result["score"], trial.number))]
