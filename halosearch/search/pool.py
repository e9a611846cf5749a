"""Pools: enumerated tables of candidates whose features are known, as points in a unit cube and as Optuna distributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

ONE_HOT = 2**-0.5
"""A word of three or more is a column of its own with this number: any two words are then 1 apart."""
LOG_ABOVE = 4.0
"""A positive feature whose largest value is at least this many times its smallest is searched on a log scale."""


class PoolExhaustedError(Exception):
    """Every row of the pool has been proposed."""


class Pool:
    """The rows that may be proposed: `features` columns of `rows`, as Optuna distributions and as points in a unit cube."""

    def __init__(self, rows: pd.DataFrame, features: Sequence[str]) -> None:
        """Scale the features; of two words one is 0 and one is 1, three or more are one-hot."""
        self.rows, self.features = rows, list(features)
        self.distributions: dict[str, BaseDistribution] = {}
        self._scale: dict[str, Callable[[Any], Any]] = {}
        points = [self._feature(name) for name in self.features]
        self._points = np.concatenate(points, 1)
        self.groups = np.repeat(np.arange(len(points)), [part.shape[1] for part in points])
        self._unseen = np.ones(len(rows), dtype=bool)

    def _feature(self, name: str) -> np.ndarray:
        column = self.rows[name]
        if not pd.api.types.is_numeric_dtype(column):
            words = sorted(column.astype(str).unique())
            self.distributions[name] = CategoricalDistribution(words)
            few = np.arange(len(words), dtype=np.float32)[:, None]
            places = few if len(words) <= 2 else np.eye(len(words), dtype=np.float32) * np.float32(ONE_HOT)
            self._scale[name] = lambda value: places[words.index(str(value))]
            return np.asarray(places[pd.Categorical(column.astype(str), categories=words).codes])
        low, high = float(column.min()), float(column.max())
        log = low > 0 and high >= LOG_ABOVE * low
        whole = pd.api.types.is_integer_dtype(column)
        self.distributions[name] = (
            IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
        )
        bend: Callable[[Any], Any] = np.log if log else (lambda value: value)
        start, width = bend(low), max(bend(high) - bend(low), 1e-12)
        self._scale[name] = lambda value: (bend(value) - start) / width
        return np.asarray(self._scale[name](column.to_numpy(dtype=float)), dtype=np.float32)[:, None]

    def words(self) -> list[str]:
        """The features whose values are words."""
        return [name for name in self.features if isinstance(self.distributions[name], CategoricalDistribution)]

    def nearest_unseen(self, wish: dict[str, Any]) -> int:
        """Index of the unseen row closest to `wish` in the unit cube; the first of equals.

        Raises:
            PoolExhaustedError: all rows are seen.
        """
        if not self._unseen.any():
            raise PoolExhaustedError
        distance = np.square(self._points - self._point(wish)).sum(1)
        distance[~self._unseen] = np.inf
        return int(distance.argmin())

    def points(self) -> np.ndarray:
        """All rows as points (rows, columns) in the unit cube, float32; `groups` (columns,) says of which feature a column is."""
        return self._points

    def first_unseen(self) -> int:
        """Index of the first row that no trial has seen."""
        return int(self._unseen.argmax())

    def unseen(self) -> np.ndarray:
        """Indices of the rows that no trial has seen."""
        return np.flatnonzero(self._unseen)

    def nearest(self, wish: dict[str, Any]) -> int:
        """Index of the row closest to `wish`, seen or not."""
        return int(np.square(self._points - self._point(wish)).sum(1).argmin())

    def _point(self, wish: dict[str, Any]) -> np.ndarray:
        return np.concatenate([np.atleast_1d(self._scale[name](wish[name])) for name in self.features]).astype(
            np.float32
        )

    def matching(self, fixed: dict[str, Any]) -> np.ndarray:
        """Indices of the rows that have these values; features that are not named may be anything."""
        same = np.ones(len(self.rows), dtype=bool)
        for name, value in fixed.items():
            same &= (self.rows[name] == value).to_numpy() if name in self.features else False
        return np.flatnonzero(same)

    def find(self, params: dict[str, Any]) -> int | None:
        """Index of the first row with exactly these features; None where there is none, or a feature is missing."""
        if any(name not in params for name in self.features):
            return None
        try:
            index = self.nearest(params)
        except ValueError:  # a word that no row has
            return None
        return index if self.params(index) == {name: params[name] for name in self.features} else None

    def take(self, index: int) -> None:
        """Mark a row as seen."""
        self._unseen[index] = False

    def forget(self) -> None:
        """Mark every row as not seen."""
        self._unseen[:] = True

    def params(self, index: int) -> dict[str, Any]:
        """The row's features as plain values that its distributions contain."""
        return {name: _plain(self.rows[name].iloc[index]) for name in self.features}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
