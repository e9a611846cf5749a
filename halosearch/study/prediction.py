"""What a study knows of step times that it has not measured: fitted to its own trials, on its own device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau

from halosearch.cost.counts import dials_of
from halosearch.cost.parts import setting_of
from halosearch.cost.roofline import Setting
from halosearch.cost.step_time import StepTimeModel, TimedModel, TimedPart, fit, kind_of, part_terms, predict_rows
from halosearch.records.store import Trial
from halosearch.space.config import HaloNetConfig
from halosearch.space.search_space import config_from_dials
from halosearch.study.comparable import timing_plan
from halosearch.study.spec import StudySpec

FOLDS = 10
MIN_AUDITED = 8


@dataclass(frozen=True, slots=True)
class TimedTrial:
    """A trial's measured step, whole and by parts."""

    number: int
    config: HaloNetConfig
    model: TimedModel
    parts: tuple[TimedPart, ...]


def timed_trials(trials: list[Trial], setting: Setting) -> list[TimedTrial]:
    """The trials whose step was timed."""
    found = []
    for trial in trials:
        if "step_time" not in trial.result or not trial.result.get("parts"):
            continue
        config = config_from_dials(trial.dials)
        dials = dials_of(config)
        terms = part_terms(dials, setting)
        parts = tuple(
            TimedPart(kind_of(dials, part["name"]), part["key"], tuple(terms[part["name"]][1].tolist()), part["share"])
            for part in trial.result["parts"]
        )
        ratio = float(trial.result["step_time"]["ratio_to_anchor"]["median"])
        found.append(TimedTrial(trial.number, config, TimedModel(dials, ratio), parts))
    return found


def setting_for(spec: StudySpec) -> Setting:
    """The roofline's view of a study's clock."""
    return setting_of(timing_plan(spec), torch.device(spec.device))


def fitted(timed: list[TimedTrial], setting: Setting) -> StepTimeModel | None:
    """The predictor that these trials support; None for too few."""
    return fit([part for each in timed for part in each.parts], [each.model for each in timed], setting)


def audited(timed: list[TimedTrial], setting: Setting) -> dict[str, Any] | None:
    """How far predictions can be trusted: every trial predicted by a fit that has not seen it (by folds).

    Returns: trials, parts, mean absolute relative error, Kendall's tau, share inside the 95 % interval, and the predictions;
        None below `MIN_AUDITED` trials.
    """
    if len(timed) < MIN_AUDITED:
        return None
    rows = []
    for fold in range(min(FOLDS, len(timed))):
        kept = [each for index, each in enumerate(timed) if index % FOLDS != fold]
        model = fitted(kept, setting)
        if model is None:
            return None
        for each in timed[fold::FOLDS]:
            predicted = model.predict(each.model.dials)
            low, middle, high = (float(value[0]) for value in (predicted.low, predicted.ratio, predicted.high))
            rows.append((each.number, each.model.ratio, middle, low, high))
    _, measured, middle, low, high = np.array(rows).T
    return {
        "trials": len(timed),
        "parts": sum(len(each.parts) for each in timed),
        "mape": float(np.mean(np.abs(middle / measured - 1))),
        "kendall_tau": float(kendalltau(middle, measured)[0]),
        "covered": float(np.mean((low <= measured) & (measured <= high))),
        "predicted": {
            str(int(number)): value for number, value in sorted(zip(np.array(rows)[:, 0], middle, strict=True))
        },
    }


def predicted_seconds(model: StepTimeModel, rows: pd.DataFrame, anchor_step_time_s: float) -> pd.DataFrame:
    """Seconds of a training step for every row: predicted_step_time_s and its interval, never measured ones."""
    ratios = predict_rows(model, rows) * anchor_step_time_s
    return ratios.rename(
        columns={
            "ratio": "predicted_step_time_s",
            "low": "predicted_step_time_low_s",
            "high": "predicted_step_time_high_s",
        }
    )
