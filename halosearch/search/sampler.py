"""Any Optuna sampler kept inside a pool: it proposes, the nearest row that no trial has seen is taken.

Proposals depend on the study's seed, the trial's number and the outcomes of earlier trials alone, never on workers' luck:
trial n knows exactly the outcomes of trials 0..n-1-lag, and treats the `lag` before it as running. So the same study with
one worker or `lag + 1`, or after any kill, proposes the same sequence for the same results.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

LOG_ABOVE = 4.0
"""A positive dial whose largest value is at least this many times its smallest is searched on a log scale."""
GP_STARTUP = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sampler learns of a finished trial: two objectives (the second is minimised), or None where it failed."""

    values: tuple[float, float] | None


class PoolExhaustedError(Exception):
    """Every row of the pool has been proposed."""


class Pool:
    """The rows that may be proposed: `features` columns of `rows`, as Optuna distributions and as points in a unit cube."""

    def __init__(self, rows: pd.DataFrame, features: Sequence[str]) -> None:
        """Scale the features; words are spread evenly over [0, 1]."""
        self.rows, self.features = rows, list(features)
        self.distributions: dict[str, BaseDistribution] = {}
        self._scale: dict[str, Callable[[Any], Any]] = {}
        points = [self._feature(name) for name in self.features]
        self._points = np.stack(points, 1)
        self._unseen = np.ones(len(rows), dtype=bool)

    def _feature(self, name: str) -> np.ndarray:
        column = self.rows[name]
        if not pd.api.types.is_numeric_dtype(column):
            words = sorted(column.astype(str).unique())
            self.distributions[name] = CategoricalDistribution(words)
            self._scale[name] = lambda value: words.index(str(value)) / max(1, len(words) - 1)
            codes = pd.Categorical(column.astype(str), categories=words).codes
            return (codes / max(1, len(words) - 1)).astype(np.float32)
        low, high = float(column.min()), float(column.max())
        log = low > 0 and high >= LOG_ABOVE * low
        whole = pd.api.types.is_integer_dtype(column)
        self.distributions[name] = (
            IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
        )
        bend: Callable[[Any], Any] = np.log if log else (lambda value: value)
        start, width = bend(low), max(bend(high) - bend(low), 1e-12)
        self._scale[name] = lambda value: (bend(value) - start) / width
        return np.asarray(self._scale[name](column.to_numpy(dtype=float)), dtype=np.float32)

    def nearest_unseen(self, wish: dict[str, Any]) -> int:
        """Index of the unseen row closest to `wish` in the unit cube; the first of equals.

        Raises:
            PoolExhaustedError: all rows are seen.
        """
        if not self._unseen.any():
            raise PoolExhaustedError
        point = np.array([self._scale[name](wish[name]) for name in self.features], dtype=np.float32)
        distance = np.square(self._points - point).sum(1)
        distance[~self._unseen] = np.inf
        return int(distance.argmin())

    def first_unseen(self) -> int:
        """Index of the first row that no trial has seen."""
        return int(self._unseen.argmax())

    def unseen(self) -> np.ndarray:
        """Indices of the rows that no trial has seen."""
        return np.flatnonzero(self._unseen)

    def nearest(self, wish: dict[str, Any]) -> int:
        """Index of the row closest to `wish`, seen or not."""
        point = np.array([self._scale[name](wish[name]) for name in self.features], dtype=np.float32)
        return int(np.square(self._points - point).sum(1).argmin())

    def take(self, index: int) -> None:
        """Mark a row as seen."""
        self._unseen[index] = False

    def params(self, index: int) -> dict[str, Any]:
        """The row's features as plain values that its distributions contain."""
        return {name: _plain(self.rows[name].iloc[index]) for name in self.features}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


class RowSampler(BaseSampler):
    """Wraps a sampler: whatever it wishes for, the parameters of a row come back."""

    def __init__(
        self, base: BaseSampler, pool: Pool, forced: int | None = None, *, uniform: np.random.Generator | None = None
    ) -> None:
        """`forced` replays a recorded row (the base still samples, for its own bookkeeping); `uniform` draws rows evenly."""
        self._base, self._pool, self._forced, self._uniform = base, pool, forced, uniform
        self.row = -1

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All features at once."""
        del study, trial
        return self._pool.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The base sampler's wish, moved to a row."""
        space = self._base.infer_relative_search_space(study, trial)
        wish = dict(self._base.sample_relative(study, trial, space))
        for name, distribution in search_space.items():
            if name not in wish:
                wish[name] = self._base.sample_independent(study, trial, name, distribution)
        if self._forced is not None:
            self.row = self._forced
        elif self._uniform is not None:
            self.row = int(self._uniform.choice(self._pool.unseen()))
        else:
            self.row = self._pool.nearest_unseen(wish)
        return self._pool.params(self.row)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: all features are sampled together."""
        del study, trial, param_distribution
        raise AssertionError(f"{param_name} is not a feature of the pool")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Let the base prepare."""
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let the base take note."""
        self._base.after_trial(study, trial, state, values)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=0, multivariate=False, constant_liar=True, seed=seed
    ),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(n_startup_trials=GP_STARTUP, deterministic_objective=False, seed=seed),
}


class Proposer:
    """Proposes rows in trial order from an in-memory mirror of the study.

    Args:
        pool: rows to choose from.
        sampler: a key of `SAMPLERS`.
        seed: of the study.
        lag: how many trials before a proposal count as running, whatever has become of them.
        startup: first trials, drawn evenly from the pool's rows (with "random", all are).
    """

    def __init__(self, pool: Pool, sampler: str, seed: int, lag: int, startup: int) -> None:
        """Start with no trial."""
        self.pool, self.sampler, self.seed, self.lag, self.startup = pool, sampler, seed, lag, startup
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._mirror = optuna.create_study(
            directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._told = 0
        self.proposed = 0

    def ready(self, outcomes: dict[int, Outcome]) -> bool:
        """Whether every outcome that the next proposal must know is there."""
        return all(number in outcomes for number in range(self._told, self.proposed - self.lag))

    def propose(self, outcomes: dict[int, Outcome], forced: int | None = None) -> int:
        """The row of the next trial; with `forced`, replay a recorded proposal.

        Raises:
            PoolExhaustedError: no row is left.
        """
        if forced is None and not len(self.pool.unseen()):
            raise PoolExhaustedError
        while self._told < self.proposed - self.lag:
            values = outcomes[self._told].values
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._mirror.tell(self._told, None if values is None else list(values), state=state)
            self._told += 1
        row_sampler = self._sampler_for(self.proposed, forced)
        self._mirror.sampler = row_sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._mirror.ask(self.pool.distributions)
        row = row_sampler.row
        if row < 0:  # Optuna asks no sampler where every feature has one value
            row = forced if forced is not None else self.pool.first_unseen()
        self.pool.take(row)
        self.proposed += 1
        return row

    def _sampler_for(self, number: int, forced: int | None) -> RowSampler:
        seeds = np.random.SeedSequence([self.seed, number]).generate_state(2)
        even = self.sampler == "random" or number < self.startup
        base = SAMPLERS["random" if even else self.sampler](int(seeds[0]))
        return RowSampler(base, self.pool, forced, uniform=np.random.default_rng(int(seeds[1])) if even else None)
