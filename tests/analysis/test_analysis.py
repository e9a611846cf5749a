import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from halosearch.analysis import rank_agreement
from halosearch.analysis.frontier import (
    complete,
    front_mask,
    frontier,
    hypervolume,
    hypervolume_history,
    knee,
    reference_point,
)
from halosearch.analysis.kendall import kendall_tau

points = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), min_size=1, max_size=30)


def rows_of(pairs):
    return pd.DataFrame(
        {
            "trial": range(len(pairs)),
            "state": "complete",
            "score": [float(s) for s, _ in pairs],
            "step_time_s": [float(c) for _, c in pairs],
        }
    )


@settings(deadline=None)
@given(points)
def test_no_row_of_the_frontier_is_dominated_and_every_other_row_is(pairs):
    mask = front_mask(rows_of(pairs))
    for i, (score, cost) in enumerate(pairs):
        dominated = any(s >= score and c <= cost and (s > score or c < cost) for s, c in pairs)
        assert mask[i] == (not dominated)


@settings(deadline=None)
@given(points)
def test_hypervolume_is_the_area_under_the_staircase(pairs):
    rows = rows_of(pairs)
    reference = reference_point(rows)
    edges = sorted({c for _, c in pairs} | {reference[1]})
    area = sum(
        max([s for s, c in pairs if c <= left], default=0) * (math.log(right) - math.log(left))
        for left, right in itertools.pairwise(edges)
    )
    assert hypervolume(rows, reference) == pytest.approx(area, abs=1e-9)


@settings(deadline=None)
@given(points)
def test_hypervolume_never_falls_as_trials_come_in(pairs):
    values = [value for _, value in hypervolume_history(rows_of(pairs))]
    assert values == sorted(values)


def test_failed_pruned_and_unscored_trials_are_never_on_the_front():
    rows = rows_of([(5, 1), (4, 2), (9, 1), (9, 9)])
    rows.loc[2, "state"] = "failed"
    rows.loc[3, "score"] = float("nan")
    assert list(frontier(rows)["trial"]) == [0]
    assert len(complete(rows)) == 2
    assert frontier(pd.DataFrame()).empty
    assert hypervolume_history(rows[rows["state"] == "failed"]) == []


def test_equal_rows_are_all_on_the_front():
    assert front_mask(rows_of([(3, 1), (3, 1), (2, 1)])).tolist() == [True, True, False]


def test_the_knee_is_the_bend():
    front = frontier(rows_of([(1, 1), (7, 2), (8, 8)]))
    assert knee(front) == 1
    assert knee(front.iloc[:2]) is None


def test_tau_equals_the_definition_and_needs_pairs():
    a, b = [1.0, 2, 3, 4, 5], [1.0, 3, 2, 5, 4]
    agreement = rank_agreement.test_retest(a, b)
    assert agreement is not None
    concordant = sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i in range(5) for j in range(i)) / 10
    assert agreement.tau == pytest.approx(concordant)
    assert agreement.low <= agreement.tau <= agreement.high
    assert rank_agreement.test_retest([1.0, 2], [1.0, 2]) is None
    assert rank_agreement.test_retest([1.0] * 5, b) is None


def test_the_interval_of_tau_covers_the_true_tau_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    rho = 0.8
    true = 2 / math.pi * math.asin(rho)
    hits = 0
    for _ in range(400):
        a = rng.normal(size=10)
        b = rho * a + math.sqrt(1 - rho**2) * rng.normal(size=10)
        agreement = rank_agreement.test_retest(list(a), list(b))
        hits += agreement.low <= true <= agreement.high
    assert hits >= 0.92 * 400


def test_a_perfect_ranking_of_few_is_no_certainty():
    agreement = rank_agreement.test_retest([1.0, 2, 3, 4, 5, 6], [1.1, 2, 3, 4, 5, 6])
    assert agreement.tau == pytest.approx(1)
    assert 0.4 < agreement.low < 0.8
    assert not agreement.valid


def test_the_ceiling_is_the_tau_that_a_simulation_gives():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 4000)
    for q in (0.3, 1.0):
        seen = truth + rng.normal(0, q, 4000)
        assert rank_agreement.tau_ceiling(q, 1.0) == pytest.approx(kendalltau(truth, seen).statistic, abs=0.02)
    assert rank_agreement.tau_ceiling(1.0, 1.0, seeds=100) > rank_agreement.tau_ceiling(1.0, 1.0)
    assert rank_agreement.tau_ceiling(0.1, 0.0) == 0


def test_noise_and_spread_are_recovered_from_pairs():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 0.2, 3000)
    agreement = rank_agreement.test_retest(
        list(truth[:300] + rng.normal(0, 0.05, 300)), list(truth[:300] + rng.normal(0, 0.05, 300))
    )
    assert agreement is not None
    assert agreement.noise == pytest.approx(0.05, rel=0.15)
    assert agreement.spread == pytest.approx(0.2, rel=0.15)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
def test_kendall_s_tau_is_scipy_s(pairs):
    first, second = zip(*pairs, strict=True)
    expected = kendalltau(first, second).statistic
    found = kendall_tau(first, second)
    assert found == pytest.approx(expected) if np.isfinite(expected) else np.isnan(found)
