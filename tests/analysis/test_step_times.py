"""The audit of a study's predictions: no trial helps to predict itself; trials without timed parts are left out."""

import numpy as np
import pytest

from halosearch.analysis.step_times import audited, predicted_seconds, timed_trials
from halosearch.cost.parts import parts_of
from halosearch.cost.step_time import fit, part_terms
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.space import DIALS
from halosearch.record.trials import Trial
from tests.cost.test_step_time import LAW, SETTING, random_candidates, timed_by_law


def recorded(n, seed, noise=0.0):
    """Trials of a device that takes LAW seconds."""
    rng = np.random.default_rng(seed)
    rows, configs = random_candidates(n, seed)
    trials = []
    for number, (row, config) in enumerate(zip(rows.to_dict("records"), configs, strict=True)):
        dials = dials_of(config)
        terms = part_terms(dials, SETTING)
        parts = [
            {"name": name, "key": part.key, "share": float(terms[name][1] @ np.array(list(LAW.values())))}
            for name, part in parts_of(config).items()
        ]
        (model,) = timed_by_law([config], noise, rng)
        result = {"step_time": {"ratio_to_anchor": {"median": model.ratio}}, "parts": parts}
        trials.append(Trial(number, {name: row[name] for name in DIALS}, {}, "complete", result=result))
    return trials, rows


def audit(timed):
    return audited(timed, fit(timed.values(), SETTING))


def test_the_audit_of_an_exact_device_finds_no_error_and_every_trial_is_predicted():
    trials, _ = recorded(24, 5)
    found = audit(timed_trials(trials, SETTING))
    assert found["trials"] == len(found["predicted"]) == 24
    assert found["mape"] < 0.01
    assert found["kendall_tau"] > 0.97


@pytest.mark.slow
def test_a_trial_does_not_help_to_predict_itself():
    trials, _ = recorded(24, 5)
    before = audit(timed_trials(trials, SETTING))["predicted"]["7"]
    ratio = trials[7].result["step_time"]["ratio_to_anchor"]
    ratio["median"] *= 5
    for part in trials[7].result["parts"]:
        part["share"] *= 5
    after = audit(timed_trials(trials, SETTING))
    assert after["predicted"]["7"] == pytest.approx(before, rel=0.02)
    assert after["mape"] > 0.02


def test_trials_without_timed_parts_are_left_out_and_few_give_no_audit():
    trials, rows = recorded(12, 6)
    trials[3].result.pop("parts")
    trials[4].result.pop("step_time")
    timed = timed_trials(trials, SETTING)
    assert list(timed) == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert audit({number: timed[number] for number in list(timed)[:7]}) is None
    seconds = predicted_seconds(fit(timed.values(), SETTING), rows, 2.0)
    assert list(seconds.columns) == [
        "predicted_step_time_s",
        "predicted_step_time_low_s",
        "predicted_step_time_high_s",
        "extrapolated",
    ]
    assert (seconds["predicted_step_time_s"] > 0).all()


def test_a_fold_that_holds_the_only_trial_of_a_kind_is_left_out_and_nothing_breaks():
    trials, _ = recorded(40, 7)
    attention = [trial for trial in trials if trial.dials["conv_stages"] == 0]
    conv = next(trial for trial in trials if trial.dials["conv_stages"] >= 2)
    timed = timed_trials([*attention, conv], SETTING)
    found = audit(timed)
    assert found is not None
    assert str(conv.number) not in found["predicted"]
