"""Optuna's samplers as they come: they draw from the whole space and learn of the budget as a constraint.

An ask outside the budget costs no training, for its size is known before: it is told with its own cost, the mean score so far
and a violated constraint, the way Optuna's samplers take constraints, or with `reject` asked again without a word of it. An ask
inside the budget is answered by the nearest row of the table that was not tried, and told as if that were what was asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from halosearch.bench.table import Table
from halosearch.search.pool import Pool

Counts = Callable[[pd.DataFrame], np.ndarray]
"""Parameters and MACs (rows, 2) of rows of features; negative where a row cannot be built."""

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


class OutOfTheBox:
    """One of Optuna's samplers on the space that a table was recorded in."""

    def __init__(self, sampler: str, table: Table, counts: Counts, seed: int, *, reject: bool) -> None:
        """A new study in memory."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._pool, self._counts, self._reject = Pool(table.rows, table.features), counts, reject
        self._low, self._high = table.budget
        self._dearest = float(table.costs().max())
        self._told: list[float] = []
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values)
            if isinstance(values[0], str) or len(set(map(type, values))) > 1
            else _ordered(values)
            for name, values in table.space.items()
        }
        self._values = table.space
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=SAMPLERS[sampler](seed))

    def ask(self) -> tuple[Any, int | None]:
        """One ask; None where it lies outside the budget."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask(self._distributions)
        wish = {name: self._value(name, trial.params[name]) for name in self._distributions}
        params, macs = (float(number) for number in self._counts(pd.DataFrame([wish]))[0])
        violation = max(self._low - params, params - self._high) / self._high if params >= 0 else 1.0
        if violation > 0:
            if not self._reject:
                trial.set_constraint("budget", violation)
                neutral = float(np.mean(self._told)) if self._told else 0.0
                self._tell(trial, (neutral, macs if macs > 0 else self._dearest))
            else:
                self._study.tell(trial, state=TrialState.FAIL)
            return trial, None
        row = self._pool.nearest_unseen(wish)
        self._pool.take(row)
        return trial, row

    def tell(self, trial: Any, row: int, score: float, cost: float) -> None:
        """A finished training."""
        del row
        self._told.append(score)
        if not self._reject:
            trial.set_constraint("budget", -1.0)
        self._tell(trial, (score, cost))

    def _tell(self, trial: Any, values: tuple[float, float]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, list(values))

    def _value(self, name: str, drawn: Any) -> Any:
        """The feature's value: ordered ones are drawn by their place in the list."""
        values = self._values[name]
        return drawn if isinstance(self._distributions[name], CategoricalDistribution) else values[int(drawn)]


def _ordered(values: list[Any]) -> BaseDistribution:
    """Values in order, by their place: what Optuna can interpolate in."""
    return optuna.distributions.IntDistribution(0, len(values) - 1)
