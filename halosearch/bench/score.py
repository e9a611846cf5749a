"""What a replay is worth: share of the attainable hypervolume over seconds, and comparisons with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from halosearch.bench.simulate import Replay
from halosearch.bench.table import Table

MARGIN = 0.1
TARGET = 0.95
BOOTSTRAPS = 4000


class Ruler:
    """Hypervolume of sets of a table's rows by the scores that judge, as a share of that of all rows; log cost."""

    def __init__(self, table: Table, seed: int) -> None:
        """The reference point lies a tenth of the range beyond the worst score and the largest log cost."""
        self._scores, self._costs = table.judge(seed), np.log(table.costs())
        self._reference = np.array(
            [
                -self._scores.min() + MARGIN * np.ptp(self._scores),
                self._costs.max() + MARGIN * max(float(np.ptp(self._costs)), 1e-9),
            ]
        )
        self._whole = self._volume(np.arange(len(self._costs)))

    def _volume(self, rows: np.ndarray) -> float:
        points = np.column_stack([-self._scores[rows], self._costs[rows]])
        return float(moocore.hypervolume(points, ref=self._reference))

    def share(self, rows: Sequence[int]) -> float:
        """Of the hypervolume of all rows; 0 for none."""
        return self._volume(np.asarray(rows, dtype=int)) / self._whole if len(rows) else 0.0


def recommended(rows: Sequence[int], seen: np.ndarray, costs: np.ndarray) -> list[int]:
    """The rows that the search itself would name: undominated by the scores that it saw."""
    if not len(rows):
        return []
    index = np.asarray(rows, dtype=int)
    points = np.column_stack([-seen[index, -1], costs[index]])
    return [int(row) for row in index[moocore.is_nondominated(points, keep_weakly=True)]]


@dataclass(frozen=True, slots=True)
class Result:
    """One replay in numbers: seconds and full trainings to 95 % (inf: not reached until `ended`), regrets after fixed seconds."""

    seconds: float
    trainings: float
    share: float
    ended: float
    capped: bool
    regrets: tuple[float, ...]
    asks: int
    outside: int
    proposed: int
    duplicates: int
    sampler_seconds: float
    trace: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what was not reached is None."""
        return {
            "seconds_to_95": None if np.isinf(self.seconds) else self.seconds,
            "trainings_to_95": None if np.isinf(self.trainings) else self.trainings,
            "share": self.share,
            "ended": round(self.ended, 3),
            "capped": self.capped,
            "regrets": list(self.regrets),
            "asks": self.asks,
            "outside_budget": self.outside,
            "proposed": self.proposed,
            "duplicates": self.duplicates,
            "sampler_seconds": round(self.sampler_seconds, 3),
            "trace": [[round(t, 3), round(v, 4)] for t, v in self.trace],
        }


def measure(replay: Replay, table: Table, seed: int, moments: Sequence[float]) -> Result:
    """Judge a replay; `moments` are the seconds at which the regret of the recommended rows is taken."""
    ruler, seen, costs = Ruler(table, seed), table.seen(seed), table.costs()
    rows: list[int] = []
    reached, best = (np.inf, np.inf), 0.0
    trace: list[tuple[float, float]] = []
    for second, row in replay.found:
        rows.append(row)
        share = ruler.share(rows)
        if share > best:
            trace.append((second, share))
        best = max(best, share)
        if best >= TARGET and np.isinf(reached[0]):
            reached = (second, float(len(rows)))
    regrets = tuple(
        1.0 - ruler.share(recommended([row for second, row in replay.found if second <= moment], seen, costs))
        for moment in moments
    )
    return Result(
        reached[0],
        reached[1],
        best,
        replay.seconds,
        replay.capped,
        regrets,
        replay.asks,
        replay.outside,
        len(replay.proposed),
        len(replay.proposed) - len(set(replay.proposed)),
        replay.sampler_seconds,
        tuple(trace),
    )


def median_interval(values: Sequence[float], *, worse: str = "upper") -> tuple[float, float, float]:
    """Median and its 95 % bootstrap interval; of an even number, the geometric mean of the middle two, or the `worse` if one is infinite."""
    array = np.asarray(values, dtype=float)
    rng = np.random.default_rng(0)
    medians = np.sort(_middle(np.sort(array[rng.integers(0, len(array), (BOOTSTRAPS, len(array)))], 1), worse))
    return (
        float(_middle(np.sort(array)[None], worse)[0]),
        float(medians[int(0.025 * BOOTSTRAPS)]),
        float(medians[int(0.975 * BOOTSTRAPS) - 1]),
    )


def _middle(ordered: np.ndarray, worse: str) -> np.ndarray:
    count = ordered.shape[1]
    low, high = ordered[:, (count - 1) // 2], ordered[:, count // 2]
    with np.errstate(invalid="ignore"):
        mean = np.sqrt(low * high)
    plain = np.isfinite(high) & (low > 0)
    return np.asarray(np.where(plain, mean, high if worse == "upper" else low))


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], ended: Sequence[float]
) -> tuple[float, float, float]:
    """Median of paired ratios theirs / ours (above 1: ours is faster), with its 95 % bootstrap interval over seeds.

    A rival that did not get there counts as if it had at the moment when its replay `ended`, which is kind to it; if ours did
    not, the ratio is 0.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    b = np.where(np.isinf(b), np.asarray(ended, dtype=float), b)
    return median_interval([float(r) for r in np.where(np.isinf(a), 0.0, b / a)], worse="lower")
