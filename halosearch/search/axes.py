"""The objectives beside the score, turned so that smaller is better: known for every row of a pool, or learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from halosearch.search.gp import Posterior

MARGIN = 0.1
"""The reference point lies this share of the range beyond the worst value."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One objective beside the score, turned so that smaller is better: `known` for every row, or a `model` of what was measured."""

    points: np.ndarray
    known: np.ndarray | None
    model: Posterior | None

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cost and its standard deviation at some rows."""
        if self.known is not None:
            return self.known[rows], np.zeros(len(rows))
        assert self.model is not None
        return self.model.predict(self.points[rows])

    def worst(self) -> float:
        """A little beyond the largest cost of the pool, or of what was measured."""
        values = self.known if self.model is None else self.model.data.values
        assert values is not None
        return float(values.max() + MARGIN * max(float(np.ptp(values)), 1e-9))


def columns(axes: list[Axis], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs and their standard deviations, (rows, axes) each."""
    found = [axis.at(rows) for axis in axes]
    empty = np.zeros((len(rows), 0))
    return (
        np.column_stack([cost for cost, _ in found]) if found else empty,
        np.column_stack([doubt for _, doubt in found]) if found else empty,
    )


def log_where_positive(column: np.ndarray) -> np.ndarray:
    """The natural logarithm of a column that is positive throughout; others as they are."""
    return np.log(column) if (column > 0).all() else column


def to_unit(column: np.ndarray) -> np.ndarray:
    """To [0, 1]."""
    return np.asarray((column - column.min()) / max(float(np.ptp(column)), 1e-12))
