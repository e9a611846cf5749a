"""What a study knows of step times that it has not measured: fitted to its own trials, on its own device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from halosearch.analysis.kendall import kendall_tau
from halosearch.cost.roofline import FLOAT, HALF, Setting
from halosearch.cost.step_time import (
    StepTimeModel,
    TimedModel,
    TimedPart,
    fit,
    kind_of,
    part_terms,
    predict_rows,
)
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.space import config_from_dials
from halosearch.record.trials import Trial
from halosearch.spec.study import StudySpec

MIN_AUDITED = 8


def timed_trials(trials: list[Trial], setting: Setting) -> dict[int, TimedModel]:
    """The trials whose step was timed whole and by parts, by number."""
    found = {}
    for trial in trials:
        if "step_time" not in trial.result or not trial.result.get("parts"):
            continue
        dials = dials_of(config_from_dials(trial.dials))
        terms = part_terms(dials, setting)
        parts = tuple(
            TimedPart(kind_of(dials, part["name"]), part["key"], tuple(terms[part["name"]][1].tolist()), part["share"])
            for part in trial.result["parts"]
        )
        ratio = float(trial.result["step_time"]["ratio_to_anchor"]["median"])
        found[trial.number] = TimedModel(dials, ratio, parts)
    return found


def setting_for(spec: StudySpec) -> Setting:
    """The roofline's view of a study's timing."""
    return Setting(spec.preset.timing_batch, True, HALF if spec.device.startswith("cuda") else FLOAT)


def prediction_of(spec: StudySpec, trials: list[Trial]) -> dict[str, Any] | None:
    """`audited` of a study's own trials."""
    setting = setting_for(spec)
    timed = timed_trials(trials, setting)
    return audited(timed, fit(timed.values(), setting)) if len(timed) >= MIN_AUDITED else None


def audited(timed: dict[int, TimedModel], fitted: StepTimeModel | None) -> dict[str, Any] | None:
    """How far a fit to these trials can be trusted: every trial as predicted by one that has not seen it (by folds).

    Returns: trials, parts, mean absolute relative error, Kendall's tau, the half-width of the 95 % interval, and the predicted
        ratios to the anchor by trial; None below `MIN_AUDITED` trials that can be predicted.
    """
    if fitted is None or len(fitted.unseen) < MIN_AUDITED:
        return None
    numbers, models = list(timed), list(timed.values())
    rows = sorted((numbers[index], models[index].ratio, predicted) for index, predicted in fitted.unseen)
    _, measured, predicted = np.array(rows).T
    return {
        "trials": len(rows),
        "parts": len(fitted.table),
        "mape": float(np.mean(np.abs(predicted / measured - 1))),
        "kendall_tau": kendall_tau(predicted, measured),
        "half_width": float(np.exp(fitted.spread) - 1),
        "predicted": {str(number): value for number, _, value in rows},
    }


def predicted_seconds(model: StepTimeModel, rows: pd.DataFrame, anchor_step_time_s: float) -> pd.DataFrame:
    """Seconds of a training step for every row, predicted and never measured, with their interval."""
    found = predict_rows(model, rows)
    names = {"ratio": "predicted_step_time_s", "low": "predicted_step_time_low_s", "high": "predicted_step_time_high_s"}
    found[list(names)] *= anchor_step_time_s
    return found.rename(columns=names)
