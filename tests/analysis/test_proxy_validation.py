import numpy as np
import pytest

from halosearch.analysis.proxy_validation import FAILED, UNKNOWN, VALID, noise_floor, validate


def made(n, noise, seed=0, rungs=2):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n)
    scores = {
        i: [*(0.5 * truth[i] + rng.standard_normal(rungs - 1)), truth[i] + noise * rng.standard_normal()]
        for i in range(n)
    }
    repeats = {i: [truth[i] + noise * rng.standard_normal()] for i in range(n)}
    return truth, scores, repeats


@pytest.mark.parametrize(
    ("n", "noise", "verdict"),
    [(40, 0.1, VALID), (40, 3.0, FAILED), (12, 0.1, UNKNOWN), (30, 10.0, FAILED), (4, 0.1, UNKNOWN), (0, 0.1, UNKNOWN)],
)
def test_the_verdict_needs_both_agreement_and_candidates(n, noise, verdict):
    _, scores, repeats = made(n, noise)
    found = validate(scores, repeats, {}, {})
    assert found["verdict"] == verdict
    assert str(n) in found["reason"]


def test_a_score_that_never_differs_is_no_proxy():
    assert validate({i: [0.5] for i in range(6)}, {i: [0.5] for i in range(6)}, {}, {})["verdict"] == FAILED


def test_a_second_seed_that_never_differs_is_no_proxy_either():
    found = validate({i: [0.1 * i] for i in range(40)}, {i: [0.5] for i in range(40)}, {}, {})
    assert found["verdict"] == FAILED
    assert "40 candidates have the same score" in found["reason"]


def test_the_noise_floor_is_the_deviation_that_made_the_scores():
    rng = np.random.default_rng(0)
    groups = [list(10 * i + 0.2 * rng.standard_normal(5)) for i in range(200)]
    found = noise_floor(groups)
    assert found["sd"] == pytest.approx(0.2, rel=0.05)
    assert (found["candidates"], found["scores"], found["degrees_of_freedom"]) == (200, 1000, 800)
    assert noise_floor([[1.0], [2.0]]) is None


def test_trivial_rankings_and_rungs_are_told_with_n():
    truth, scores, repeats = made(30, 0.05)
    found = validate(scores, repeats, {"truth": dict(enumerate(truth)), "flat": dict.fromkeys(range(30), 1.0)}, {})
    assert found["baselines"]["truth"]["tau"] > 0.9
    assert found["baselines"]["truth"]["n"] == 30
    assert found["baselines"]["flat"] is None
    [rung] = found["rungs"]
    assert 0 < rung["tau"] < found["agreement"]["tau"]


def test_the_learning_rate_rule_fails_where_another_rate_gains_more_than_the_noise():
    _, scores, repeats = made(10, 0.1)
    rates = {0: {0.5: 0.3, 1.0: 0.4, 2.0: 0.41}}
    assert validate(scores, repeats, {}, rates)["rates"]["holds"]
    rates[1] = {0.5: 0.9, 1.0: 0.1, 2.0: 0.2}
    found = validate(scores, repeats, {}, rates)["rates"]
    assert not found["holds"]
    assert found["worst_loss"] == pytest.approx(0.8)
