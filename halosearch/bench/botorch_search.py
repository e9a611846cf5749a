"""BoTorch as its documentation uses it, on the rows of a table: qLogEHVI over all rows that were not tried.

Eight rows drawn evenly, then for every ask a Gaussian process of the score and one of the logarithm of the cost (`SingleTaskGP`,
standardised outcomes, default priors), and the row with the largest expected hypervolume improvement; rows that are running count
as pending. Words are one-hot. Source: Daulton et al., arXiv:2006.05078; Ament et al., arXiv:2310.20708.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition.multi_objective.logei import qLogExpectedHypervolumeImprovement
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.transforms import Standardize
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from gpytorch.mlls import SumMarginalLogLikelihood

from halosearch.bench.table import Table
from halosearch.search.pool import Pool

START = 8
SAMPLES = 128
ROWS_AT_A_TIME = 512
MARGIN = 0.1
"""The reference point lies this share of the observed range beyond the worst of each outcome, BoTorch's own rule of thumb."""


class BotorchSearch:
    """Asked and told like the others; `ask` gives the row twice, as handle and as row."""

    def __init__(self, table: Table, seed: int) -> None:
        """Nothing tried yet."""
        self._points = torch.from_numpy(Pool(table.rows, table.features).points().astype(np.float64))
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._free = np.ones(len(self._points), dtype=bool)
        self._told: dict[int, tuple[float, float]] = {}
        self._running: set[int] = set()

    def ask(self) -> tuple[Any, int | None]:
        """The next row."""
        free = np.flatnonzero(self._free)
        tried = len(self._points) - len(free)
        row = int(self._rng.choice(free)) if tried < START or len(self._told) < 2 else self._best(free)
        self._free[row] = False
        self._running.add(row)
        return row, row

    def tell(self, trial: Any, row: int, score: float, cost: float) -> None:
        """A finished training."""
        del trial
        self._running.discard(row)
        self._told[row] = (score, -float(np.log(cost)))

    def _best(self, free: np.ndarray) -> int:
        rows = list(self._told)
        known, outcomes = self._points[rows], torch.tensor([self._told[row] for row in rows], dtype=torch.float64)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(self._seed)
            models = [SingleTaskGP(known, outcomes[:, [i]], outcome_transform=Standardize(1)) for i in range(2)]
            model = ModelListGP(*models)
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            reference = outcomes.min(0).values - MARGIN * (outcomes.max(0).values - outcomes.min(0).values)
            acquisition = qLogExpectedHypervolumeImprovement(
                model,
                reference,
                FastNondominatedPartitioning(reference, outcomes),  # type: ignore[arg-type]
                SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=self._seed),
                X_pending=self._points[sorted(self._running)] if self._running else None,
            )
            choices = self._points[free].unsqueeze(1)
            with torch.no_grad():
                values = torch.cat([acquisition(part) for part in choices.split(ROWS_AT_A_TIME)])
        return int(free[int(values.argmax())])
