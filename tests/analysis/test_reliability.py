import numpy as np
import pytest

from halosearch.analysis.reliability import beyond_dials, predicted_without_itself, reliability


def scores(n, icc, rng):
    return rng.normal(0, icc**0.5, n)[:, None] + rng.normal(0, (1 - icc) ** 0.5, (n, 2))


@pytest.mark.parametrize("n", [5, 7, 12, 40])
@pytest.mark.parametrize("icc", [0.0, 0.5, 0.9])
def test_the_interval_holds_the_truth_in_nineteen_of_twenty_samples(n, icc):
    rng = np.random.default_rng(n)
    found = [reliability(scores(n, icc, rng)) for _ in range(1500)]
    assert 0.935 <= np.mean([each.low <= icc <= each.high for each in found]) <= 0.975


def test_it_is_the_textbook_correlation_whatever_the_level_of_a_seed():
    """Mean squares by hand: rows of a table of two columns, consistency."""
    table = scores(20, 0.6, np.random.default_rng(0)) + np.array([0.0, 5.0])
    grand, rows, columns = table.mean(), table.mean(1), table.mean(0)
    msr = 2 * ((rows - grand) ** 2).sum() / 19
    mse = ((table - rows[:, None] - columns + grand) ** 2).sum() / 19
    assert reliability(table).icc == pytest.approx((msr - mse) / (msr + mse))
    assert reliability(table[:4]) is None
    assert reliability(np.ones((9, 2))) is None
    assert reliability(np.column_stack([np.arange(9.0)] * 2)).icc == 1


def test_leaving_one_out_is_what_fitting_without_it_gives():
    rng = np.random.default_rng(1)
    features, score = rng.normal(size=(15, 3)), rng.normal(size=15)
    features = (features - features.mean(0)) / features.std(0)
    found = predicted_without_itself(features, score)
    for left in range(15):
        kept = np.arange(15) != left
        x = np.column_stack([np.ones(15), features])
        weights = np.linalg.solve(x[kept].T @ x[kept] + np.diag([0.0, 1, 1, 1]), x[kept].T @ score[kept])
        assert found[left] == pytest.approx(x[left] @ weights)


def test_what_dials_explain_is_not_taken_for_what_the_proxy_knows_and_what_it_knows_is_found():
    rng, more, taus = np.random.default_rng(2), {"dials": [], "more": []}, []
    for _ in range(200):
        features, weights = rng.normal(size=(40, 11)), rng.normal(size=11)
        plain = features @ weights * (3 / np.linalg.norm(weights))
        hidden = rng.normal(0, 2, 40)
        for name, truth in (("dials", plain), ("more", plain + hidden)):
            found = beyond_dials(features, truth[:, None] + rng.normal(0, 1, (40, 2)))
            more[name].append(found["rest"]["low"] > 0)
            taus.append(found["tau"])
    assert np.mean(taus) > 0.5
    assert np.mean(more["dials"]) < 0.1
    assert np.mean(more["more"]) > 0.9


def test_few_candidates_do_not_decide_it():
    rng = np.random.default_rng(3)
    found = beyond_dials(rng.normal(size=(12, 11)), scores(12, 0.9, rng))
    assert found["rest"] is None
    assert beyond_dials(rng.normal(size=(4, 2)), scores(4, 0.9, rng)) is None
