"""Which dials the scores of a study hang on: PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv:2304.10255) as Optuna implements it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd

MIN_TRIALS = 20
MOST_TRIALS = 200
SHUFFLES = 9


def importance(rows: pd.DataFrame, dials: tuple[str, ...], seed: int = 0) -> dict[str, Any] | None:
    """Share of each dial that varies, most important first, over complete trials, beside what a dial without any effect gets.

    The method compares how a dial is distributed among the best tenth and among all trials, so it says what this study's trials
    hang on, not what the space does: a sampler that left a region early hides it. `chance` is the largest share of the same dial
    when the scores are dealt out anew, `SHUFFLES` times. Above `MOST_TRIALS` a fixed random sample is used.

    Returns: trials used, of how many, shuffles, and per dial its name, share and chance; None below `MIN_TRIALS` trials or without a spread.
    """
    varied = [dial for dial in dials if rows[dial].nunique() > 1] if len(rows) else []
    if len(rows) < MIN_TRIALS or not varied or rows["score"].nunique() < 2:
        return None
    rng, of = np.random.default_rng(seed), len(rows)
    if len(rows) > MOST_TRIALS:
        rows = rows.iloc[np.sort(rng.choice(len(rows), MOST_TRIALS, replace=False))]
    scores = rows["score"].to_numpy(float)
    study = _study(rows, varied)
    shares = _shares(study, scores)
    dealt = [_shares(study, rng.permutation(scores)) for _ in range(SHUFFLES)]
    found = [
        {"dial": dial, "share": shares[dial], "chance": max(shuffled[dial] for shuffled in dealt)}
        for dial in sorted(varied, key=lambda dial: (-shares[dial], dial))
    ]
    return {"trials": len(rows), "of": of, "shuffles": SHUFFLES, "dials": found}


def _study(rows: pd.DataFrame, dials: list[str]) -> optuna.Study:
    """An Optuna study in memory, dials as the places of their choices in order."""
    choices = {dial: {c: n for n, c in enumerate(sorted(rows[dial].unique().tolist()))} for dial in dials}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        dial: optuna.distributions.IntDistribution(0, len(known) - 1) for dial, known in choices.items()
    }
    study = _quietly(optuna.create_study, direction="maximize")
    for record in rows[dials].to_dict("records"):
        params = {dial: choices[dial][record[dial]] for dial in dials}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.0))
    return study  # type: ignore[no-any-return]


def _shares(study: optuna.Study, scores: np.ndarray) -> dict[str, float]:
    evaluator = _quietly(optuna.importance.PedAnovaImportanceEvaluator)
    return dict(
        _quietly(
            optuna.importance.get_param_importances,
            study,
            evaluator=evaluator,
            target=lambda trial: float(scores[trial.number]),
        )
    )


def _quietly(call: Any, *args: Any, **options: Any) -> Any:
    """A call into Optuna without its news and its warnings of what is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*args, **options)
    finally:
        optuna.logging.set_verbosity(level)
