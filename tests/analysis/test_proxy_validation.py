import numpy as np
import pytest

from halosearch.analysis.proxy_validation import FAILED, MORE, RELIABLE, STABLE, UNKNOWN, VALID, noise_floor, validate


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


def lengths(n, agrees, seed=0):
    """Reliable scores, and shorter trainings with the second seed that rank like them or not at all."""
    truth, scores, repeats = made(n, 0.1, seed)
    rng = np.random.default_rng(seed + 1)
    again = {i: [agrees * truth[i] + 0.3 * rng.standard_normal(), repeats[i][0]] for i in range(n)}
    return validate(scores, repeats, {}, {}, again)


@pytest.mark.parametrize(
    ("n", "agrees", "verdict"), [(40, 1.0, VALID), (40, 0.0, FAILED), (12, 1.0, UNKNOWN), (12, -1.0, FAILED)]
)
def test_a_proxy_whose_shorter_trainings_rank_otherwise_is_refused(n, agrees, verdict):
    found = lengths(n, agrees)
    assert found["statements"][STABLE] == verdict
    assert found["statements"][RELIABLE] == (VALID if n == 40 else UNKNOWN)
    assert found["verdict"] == verdict
    assert ("ranks otherwise" in found["reason"]) == (verdict == FAILED)


@pytest.mark.parametrize("seed", range(3))
def test_a_proxy_that_only_repeats_its_dials_is_told_so_and_not_refused(seed):
    rng = np.random.default_rng(seed)
    dials = rng.standard_normal((60, 3))
    only_dials, more = dials @ [1.0, 0.5, -0.5], rng.standard_normal(60)
    for truth, verdict in ((only_dials, FAILED), (only_dials + more, VALID)):
        first, second = (truth + 0.2 * rng.standard_normal(60) for _ in range(2))
        scores, repeats = {i: [first[i]] for i in range(60)}, {i: [second[i]] for i in range(60)}
        found = validate(scores, repeats, {}, {}, described=dict(enumerate(dials.tolist())))
        assert found["statements"][MORE] == verdict
        assert found["verdict"] == VALID
        assert ("is not shown by so many" in found["reason"]) == (verdict == FAILED)
