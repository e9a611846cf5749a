"""Proposals in trial order: `PoolSampler`, or any sampler of Optuna's kept inside the pool.

What one of Optuna's samplers wishes for is moved to the nearest row that no trial has seen. Proposals depend on the study's seed,
the trial's number and what was told before, never on workers' luck; trials not told of yet count as running.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from halosearch.search.pool import Pool, PoolExhaustedError
from halosearch.search.pool_sampler import ROW_ATTR, SCORES_ATTR, Guidance, PoolSampler
from halosearch.spec.study import POOL

GP_STARTUP = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search learns of a row: the trial's scores by rung so far and its cost (minimised), or no scores: it failed."""

    scores: tuple[float, ...] | None
    cost: float = 1.0


class RowSampler(BaseSampler):
    """Wraps a sampler: whatever it wishes for, the parameters of a row come back."""

    def __init__(
        self,
        base: BaseSampler,
        pool: Pool,
        forced: int | None = None,
        *,
        uniform: np.random.Generator | None = None,
        choose: PoolSampler | None = None,
    ) -> None:
        """`forced` replays a row (the base still samples, for its own bookkeeping); `uniform` draws evenly; `choose` picks a row."""
        self._base, self._pool, self._forced, self._uniform, self._choose = base, pool, forced, uniform, choose
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
        elif self._choose is not None:
            self.row = self._choose.choose(study, trial.number)
        else:
            self.row = self._pool.nearest_unseen(wish)
        study._storage.set_trial_system_attr(trial._trial_id, ROW_ATTR, self.row)
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


OPTUNA: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=0, multivariate=False, constant_liar=True, seed=seed
    ),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(n_startup_trials=GP_STARTUP, deterministic_objective=False, seed=seed),
}


@dataclass(frozen=True, slots=True)
class Guide:
    """The cost column of a search's second objective, and what `PoolSampler` is told beside it."""

    cost: str
    guidance: Guidance = field(default_factory=Guidance)


class Proposer:
    """Proposes rows in trial order from an in-memory mirror of the study.

    Args:
        pool: rows to choose from.
        sampler: "pool", or a key of `OPTUNA`.
        seed: of the study.
        uniform: first trials, drawn evenly from the pool's rows (with "random", all are).
        guide: the cost beside the score, and what "pool" is told.
    """

    def __init__(self, pool: Pool, sampler: str, seed: int, uniform: int, guide: Guide) -> None:
        """Start with no trial."""
        self.pool, self.sampler, self.seed, self.uniform = pool, sampler, seed, uniform
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._mirror = optuna.create_study(
            directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._trials: list[optuna.Trial] = []
        self._pool_sampler = None
        if sampler == POOL:
            self._pool_sampler = PoolSampler(
                pool.rows, pool.features, {1: guide.cost}, seed=seed, guidance=replace(guide.guidance, startup=0)
            )

    @property
    def proposed(self) -> int:
        """Trials so far."""
        return len(self._trials)

    def tell(self, trial: int, outcome: Outcome, *, final: bool) -> None:
        """What became of a trial; until it is told finally it counts as running, with the scores that it has."""
        if outcome.scores is not None:
            self._trials[trial].set_user_attr(SCORES_ATTR, list(outcome.scores))
        if final:
            values = None if outcome.scores is None else [outcome.scores[-1], outcome.cost]
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._mirror.tell(trial, values, state=state)

    def propose(self, forced: int | None = None) -> int:
        """The row of the next trial; with `forced`, a recorded one.

        Raises:
            PoolExhaustedError: no row is left.
        """
        if forced is None and not len(self.pool.unseen()):
            raise PoolExhaustedError
        row_sampler = self._sampler_for(self.proposed, forced)
        self._mirror.sampler = row_sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._trials.append(self._mirror.ask(self.pool.distributions))
        row = row_sampler.row
        if row < 0:  # Optuna asks no sampler where every feature has one value
            row = forced if forced is not None else self.pool.first_unseen()
        self.pool.take(row)
        return row

    def _sampler_for(self, number: int, forced: int | None) -> RowSampler:
        seeds = np.random.SeedSequence([self.seed, number]).generate_state(2)
        even = self.sampler == "random" or number < self.uniform
        if even or self._pool_sampler is not None:
            base: BaseSampler = OPTUNA["random"](int(seeds[0]))
        else:
            base = OPTUNA[self.sampler](int(seeds[0]))
        uniform = np.random.default_rng(int(seeds[1])) if even else None
        choose = None if even else self._pool_sampler
        return RowSampler(base, self.pool, forced, uniform=uniform, choose=choose)
