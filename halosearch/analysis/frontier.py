"""The Pareto frontier of score (higher is better) against a cost (lower is better), and its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import moocore
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COST, SCORE = "step_time_s", "score"
REFERENCE_MARGIN = 1.1


def complete(trials: pd.DataFrame, cost: str = COST) -> pd.DataFrame:
    """Rows that can be on a frontier: complete, with a score and this cost."""
    if trials.empty:
        return trials
    rows = trials[(trials["state"] == "complete")]
    return rows[np.isfinite(rows[SCORE].astype(float)) & np.isfinite(rows[cost].astype(float))]


def front_mask(rows: pd.DataFrame, cost: str = COST) -> np.ndarray:
    """Which rows no other row beats: at least as good in both and better in one. Equal rows are all kept."""
    if rows.empty:
        return np.zeros(0, dtype=bool)
    return undominated(rows[SCORE].tolist(), rows[cost].tolist())


def undominated(scores: Sequence[float], costs: Sequence[float]) -> np.ndarray:
    """The same of plain numbers, one at least."""
    points = np.column_stack([-np.asarray(scores, dtype=float), np.asarray(costs, dtype=float)])
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=bool)


def frontier(trials: pd.DataFrame, cost: str = COST) -> pd.DataFrame:
    """The undominated complete trials, fastest first."""
    rows = complete(trials, cost)
    if rows.empty:
        return rows
    return rows[front_mask(rows, cost)].sort_values([cost, SCORE])


class GrowingFront:
    """The undominated (score, cost) pairs of those that came so far."""

    def __init__(self) -> None:
        """None yet."""
        self.members: list[tuple[float, float]] = []

    def add(self, score: float, cost: float) -> bool:
        """Whether the pair joins the front; a pair that is there already does not."""
        if any(s >= score and c <= cost for s, c in self.members):
            return False
        self.members = [(s, c) for s, c in self.members if s > score or c < cost] + [(score, cost)]
        return True


def reference_point(rows: pd.DataFrame, cost: str = COST) -> tuple[float, float]:
    """Score 0 (chance) and 1.1 x the largest cost: what the hypervolume is measured from."""
    return 0.0, REFERENCE_MARGIN * float(rows[cost].max())


def hypervolume(rows: pd.DataFrame, reference: tuple[float, float], cost: str = COST) -> float:
    """Area between the front and the reference point, over score and the natural log of cost; 0 for no rows."""
    if rows.empty:
        return 0.0
    points = np.column_stack([-rows[SCORE].to_numpy(float), np.log(rows[cost].to_numpy(float))])
    return float(moocore.hypervolume(points, ref=np.array([-reference[0], np.log(reference[1])])))


def hypervolume_history(trials: pd.DataFrame, cost: str = COST) -> list[tuple[int, float]]:
    """(trial number, hypervolume of all complete trials up to it), against one reference point for all."""
    import pandas as pd

    rows = complete(trials)
    if rows.empty:
        return []
    rows = rows.sort_values("trial")
    reference = reference_point(rows, cost)
    front, found, value = GrowingFront(), list[tuple[int, float]](), 0.0
    for number, score, price in zip(*(rows[name].tolist() for name in ("trial", SCORE, cost)), strict=True):
        if front.add(score, price):  # only a new member of the front changes the volume
            value = hypervolume(pd.DataFrame(front.members, columns=[SCORE, cost]), reference, cost)
        found.append((int(number), value))
    return found


def knee(front: pd.DataFrame, cost: str = COST) -> int | None:
    """Trial number of the front's point farthest above the line between its ends (log cost); None below three points."""
    if len(front) < 3:
        return None
    x, y = np.log(front[cost].to_numpy(float)), front[SCORE].to_numpy(float)
    line = y[0] + (y[-1] - y[0]) * (x - x[0]) / max(x[-1] - x[0], 1e-12)
    return int(front["trial"].iloc[int(np.argmax(y - line))])
