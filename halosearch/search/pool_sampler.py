"""`PoolSampler`: an Optuna sampler over any enumerated pool whose costs are known exactly and whose score is not.

    pool = pandas.DataFrame({"depth": [...], "width": [...], "macs": [...]})
    sampler = PoolSampler(pool, features=["depth", "width"], costs={1: "macs"}, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(20):
        trial = study.ask(sampler.distributions)
        row = pool.iloc[sampler.row(trial)]
        study.tell(trial, [score(row), row["macs"]])

A surrogate (see `surrogate`) learns the score from finished trials; for every row that no trial has seen the expected gain in
hypervolume is computed exactly and divided by the seconds that the row is expected to take. No row is proposed twice, by any
number of threads; of several processes, let one ask.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from halosearch.search.axes import MARGIN, Axis, columns, log_where_positive, to_unit
from halosearch.search.ehvi import Front, expected_hypervolume_improvement
from halosearch.search.gp import Hyperparameters, Observations, Posterior, fit
from halosearch.search.pool import Pool, PoolExhaustedError

ROW_ATTR = "halosearch:row"
SCORES_ATTR = "scores"
UNIFORM_SHARE = 0.15
MAXIMIN_CANDIDATES = 512
MIN_OBSERVED = 3
REFIT_GROWTH = 1.1
"""Hyperparameters are found again whenever the observations have grown by this factor (below ten: every time)."""
ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a `PoolSampler` may be told beyond features and costs.

    Args:
        fidelities: lengths of trials, rising, if they run in rungs. A trial's scores so far are then read from its user
            attribute "scores", a list with one number per rung; values are told for the last rung only.
        seconds: expected seconds of a trial of every row (a column's name or an array); gains are divided by them.
        reference: worst score that counts as a gain; by default a tenth of the observed range below the worst one seen.
        noise: standard deviation of one score where it is known; learned otherwise.
        startup: first trials, spread over the pool (maximin). uniform_share: share of later ones that are drawn evenly.
    """

    fidelities: Sequence[float] = (1.0,)
    seconds: str | Sequence[float] | np.ndarray | None = None
    reference: float | None = None
    noise: float | None = None
    startup: int = 8
    uniform_share: float = UNIFORM_SHARE


class PoolSampler(BaseSampler):
    """Proposes rows of a pool.

    Args:
        pool: one row per candidate. Rows are known by their position.
        features: columns that the surrogate and Optuna see: numbers or words.
        costs: which objective of the study is which column of the pool. Objectives that are in neither place are measured;
            the first of them is the score, every other one gets a surrogate of its own. Positive columns count on a log scale.
        seed: proposals depend on it, on the trial's number and on what the study holds, on nothing else.
        guidance: see `Guidance`.

    Raises:
        ValueError: a column is missing, costs are not finite, or fidelities do not rise.
    """

    def __init__(
        self,
        pool: pd.DataFrame,
        features: Sequence[str],
        costs: Mapping[int, str] | None = None,
        *,
        seed: int = 0,
        guidance: Guidance | None = None,
    ) -> None:
        """Scale features and costs once."""
        guidance = guidance or Guidance()
        seconds, fidelities = guidance.seconds, guidance.fidelities
        self.costs = dict(costs or {})
        missing = [name for name in [*features, *self.costs.values()] if name not in pool.columns]
        if missing or not len(pool):
            raise ValueError(f"the pool has no column {missing[0]!r}" if missing else "the pool has no row")
        if list(fidelities) != sorted(set(fidelities)) or not len(fidelities):
            raise ValueError(f"fidelities must rise, got {list(fidelities)}")
        self._pool = Pool(pool, features)
        self._cost_columns = {i: pool[name].to_numpy(dtype=float) for i, name in self.costs.items()}
        for i, column in self._cost_columns.items():
            if not np.isfinite(column).all():
                raise ValueError(f"cost {self.costs[i]!r} is not finite in every row")
        extra = [to_unit(log_where_positive(column)) for column in self._cost_columns.values()]
        self._points = np.column_stack([self._pool.points().astype(float), *extra])
        self._groups = np.append(self._pool.groups, len(self._pool.features) + np.arange(len(extra)))
        given = pool[seconds].to_numpy(dtype=float) if isinstance(seconds, str) else seconds
        self._seconds = np.ones(len(pool)) if given is None else np.asarray(given, dtype=float)
        if self._seconds.shape != (len(pool),) or not (self._seconds > 0).all():
            raise ValueError("seconds must be positive, one per row")
        self.fidelities, self.reference, self.noise = tuple(map(float, fidelities)), guidance.reference, guidance.noise
        self.startup, self.uniform_share, self.seed = guidance.startup, guidance.uniform_share, seed
        self._lock = threading.Lock()
        self._fits: dict[tuple[int, ...], Hyperparameters] = {}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What to hand to `study.ask`."""
        return dict(self._pool.distributions)

    def row(self, trial: optuna.Trial | FrozenTrial) -> int:
        """Position in the pool of a trial's row.

        Raises:
            ValueError: the trial is of no row.
        """
        found = self._row_of(trial)
        if found is None:
            raise ValueError(f"trial {trial.number} is not of this pool: {trial.params}")
        return found

    def _row_of(self, trial: Any) -> int | None:
        attrs = _system_attrs(trial)
        if ROW_ATTR in attrs:
            return int(attrs[ROW_ATTR])
        return self._pool.find(trial.params or attrs.get("fixed_params", {}))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Refuse a trial for which no row is left.

        Raises:
            PoolExhaustedError: every row has been tried; the trial is failed.
        """
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        if len({self._row_of(t) for t in others} - {None}) >= len(self._points):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            raise PoolExhaustedError

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All features at once."""
        del study, trial
        return self._pool.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The features of the row to try next."""
        fixed = trial.system_attrs.get("fixed_params")
        with self._lock:
            row = self._enqueued(study, trial, fixed) if fixed else self.choose(study, trial.number)
            study._storage.set_trial_system_attr(trial._trial_id, ROW_ATTR, row)
        return {name: value for name, value in self._pool.params(row).items() if name in search_space}

    def _enqueued(self, study: optuna.Study, trial: FrozenTrial, fixed: dict[str, Any]) -> int:
        """The row that was asked for by all or some of its features; of several, the first that was not tried.

        Raises:
            ValueError: no row has these features; the trial is failed.
        """
        rows = self._pool.matching(fixed)
        if not len(rows):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            raise ValueError(f"no row of the pool has {fixed}")
        tried = {self._row_of(t) for t in study.get_trials(deepcopy=False) if t.number != trial.number}
        return int(next((row for row in rows if row not in tried), rows[0]))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Only for parameters that are no feature of the pool.

        Raises:
            ValueError: always: rows are indivisible.
        """
        del study, trial, param_distribution
        raise ValueError(f"{param_name!r} is no feature of the pool; ask with study.ask(sampler.distributions)")

    def choose(self, study: optuna.Study, number: int) -> int:
        """Position of the row for trial `number`.

        Raises:
            PoolExhaustedError: every row has been tried.
        """
        others = [(self._row_of(t), t) for t in study.get_trials(deepcopy=False) if t.number != number]
        tried = [(row, t) for row, t in others if row is not None]
        unseen = np.ones(len(self._points), dtype=bool)
        unseen[[row for row, _ in tried]] = False
        free = np.flatnonzero(unseen)
        if not len(free):
            raise PoolExhaustedError
        rng = np.random.default_rng([self.seed, number])
        if rng.random() < self.uniform_share and number >= self.startup:
            return int(rng.choice(free))
        data = self._observations(study, tried)
        if number < self.startup or len(data) < MIN_OBSERVED or not self._costs_known(study, tried):
            return self._farthest(free, np.array([row for row, _ in tried], dtype=int), rng)
        gain = self._gains(study, tried, data, free) / self._seconds[free]
        best = gain.max()
        if not best > 0:
            return int(rng.choice(free))
        return int(rng.choice(free[gain >= best * (1 - 1e-9)]))

    def _farthest(self, free: np.ndarray, tried: np.ndarray, rng: np.random.Generator) -> int:
        """Of some rows drawn evenly, the one farthest from all tried ones."""
        drawn = rng.choice(free, min(len(free), MAXIMIN_CANDIDATES), replace=False)
        if not len(tried):
            return int(drawn[0])
        gaps = self._points[drawn][:, None] - self._points[tried][None]
        return int(drawn[np.square(gaps).sum(2).min(1).argmax()])

    def _costs_known(self, study: optuna.Study, tried: list[tuple[int, FrozenTrial]]) -> bool:
        """Whether every cost is a column of the pool, or was measured often enough to be learned."""
        measured = len(study.directions) - 1 > len(self.costs)
        return not measured or sum(t.state == TrialState.COMPLETE for _, t in tried) >= MIN_OBSERVED

    def _observations(self, study: optuna.Study, tried: list[tuple[int, FrozenTrial]]) -> Observations:
        """Every finite score of every trial: by rung from its user attribute, at the top from its value."""
        rows, rungs, values = [], [], []
        top, score = len(self.fidelities) - 1, self._score_objective(study)
        for row, trial in tried:
            known = dict(enumerate(trial.user_attrs.get(SCORES_ATTR, ())))
            if trial.state == TrialState.COMPLETE:
                known[top] = trial.values[score]
            for rung, value in known.items():
                if rung <= top and value is not None and np.isfinite(value):
                    rows.append(row)
                    rungs.append(rung)
                    values.append(float(value))
        return Observations(self._points[rows], np.array(rungs, dtype=int), np.array(values), self._groups)

    def _score_objective(self, study: optuna.Study) -> int:
        return next((i for i in range(len(study.directions)) if i not in self.costs), 0)

    def _fitted(self, data: Observations, noise: float | None) -> Hyperparameters:
        """Hyperparameters of the observations up to the last step of a geometric ladder: the same after a restart."""
        used, step = len(data), 1.0
        while step < len(data):
            used, step = int(step), max(step + 1, step * REFIT_GROWTH)
        key = tuple(hash(part[:used].tobytes()) for part in (data.points, data.rungs, data.values))
        if key not in self._fits:
            self._fits = {key: fit(data.subset(np.arange(used)), self.fidelities, noise)}
        return self._fits[key]

    def _gains(
        self, study: optuna.Study, tried: list[tuple[int, FrozenTrial]], data: Observations, free: np.ndarray
    ) -> np.ndarray:
        """Expected hypervolume improvement of the free rows."""
        score = self._score_objective(study)
        sign = 1.0 if study.directions[score] == StudyDirection.MAXIMIZE else -1.0
        data = replace(data, values=sign * data.values)
        pending = [
            row for row, t in tried if t.state == TrialState.RUNNING and not len(t.user_attrs.get(SCORES_ATTR, ()))
        ]
        posterior = Posterior(data, self._fitted(data, self.noise)).with_pending(self._points[pending])
        at_top = [row for row, t in tried if t.state == TrialState.COMPLETE and np.isfinite(t.values[score])]
        shown = np.array(at_top or [row for row, t in tried if t.user_attrs.get(SCORES_ATTR)], dtype=int)
        means = posterior.mean(self._points[shown])
        worst = float(data.values.min()) - MARGIN * max(float(np.ptp(data.values)), 1e-12)
        reference = worst if self.reference is None else sign * self.reference
        axes = [self._axis(study, objective, tried) for objective in range(len(study.directions)) if objective != score]
        front = Front(means, columns(axes, shown)[0], reference, np.array([axis.worst() for axis in axes]))
        gains = np.empty(len(free))
        for start in range(0, len(free), ROWS_AT_A_TIME):
            rows = free[start : start + ROWS_AT_A_TIME]
            mean, sd = posterior.predict(self._points[rows])
            costs, doubts = columns(axes, rows)
            gains[start : start + len(rows)] = expected_hypervolume_improvement(mean, sd, costs, front, doubts)
        return gains

    def _axis(self, study: optuna.Study, objective: int, tried: list[tuple[int, FrozenTrial]]) -> Axis:
        """A cost: a column of the pool, or where there is none a surrogate of what was told."""
        sign = 1.0 if study.directions[objective] == StudyDirection.MINIMIZE else -1.0
        column = self._cost_columns.get(objective)
        if column is not None:
            return Axis(self._points, sign * log_where_positive(column), None)
        told = [(row, t.values[objective]) for row, t in tried if t.state == TrialState.COMPLETE]
        rows, values = [row for row, _ in told], np.array([value for _, value in told], dtype=float)
        data = Observations(
            self._points[rows], np.zeros(len(rows), dtype=int), sign * log_where_positive(values), self._groups
        )
        return Axis(self._points, None, Posterior(data, fit(data, (1.0,))))


def _system_attrs(trial: Any) -> dict[str, Any]:
    """System attributes of a frozen or a live trial."""
    if isinstance(trial, FrozenTrial):
        return trial.system_attrs
    frozen = trial.storage.get_trial(trial._trial_id)
    return dict(frozen.system_attrs)
