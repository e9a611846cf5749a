"""Expected hypervolume improvement against brute force: moocore's hypervolume of drawn scores."""

import itertools

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.search.ehvi import Front, expected_hypervolume_improvement

REFERENCE = 1.1


def volume(scores, costs):
    if not costs.shape[1]:
        return max(0.0, float(scores.max(initial=0.0)))
    points = np.column_stack([-scores, costs])
    inside = (points < np.r_[0.0, np.full(costs.shape[1], REFERENCE)]).all(1)
    if not inside.any():
        return 0.0
    return moocore.hypervolume(points[inside], ref=np.r_[0.0, np.full(costs.shape[1], REFERENCE)])


def drawn_improvement(mean, sd, cost, cost_sd, front, draws, rng):
    """Mean and standard error of the improvement of drawn (score, cost) pairs."""
    base = volume(front.scores, front.costs)
    gains = []
    for _ in range(draws):
        score = mean + sd * rng.standard_normal()
        where = cost + cost_sd * rng.standard_normal(len(cost))
        gains.append(volume(np.r_[front.scores, score], np.vstack([front.costs, where])) - base)
    return np.mean(gains), np.std(gains) / draws**0.5


@pytest.mark.parametrize("costs", [0, 1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_it_equals_brute_force_monte_carlo_within_its_error(costs, known):
    rng = np.random.default_rng(costs)
    front = Front(rng.random(6), rng.random((6, costs)), 0.0, np.full(costs, REFERENCE))
    mean, sd, where = rng.random(6), 0.05 + 0.3 * rng.random(6), rng.random((6, costs))
    doubt = np.zeros((6, costs)) if known else 0.2 * rng.random((6, costs))
    exact = expected_hypervolume_improvement(mean, sd, where, front, None if known else doubt)
    for i in range(6):
        found, error = drawn_improvement(mean[i], sd[i], where[i], doubt[i], front, 1500, rng)
        assert abs(exact[i] - found) <= 4 * error + 1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 2))
def test_without_doubt_it_is_the_hypervolume_that_the_row_adds(seed, size, costs):
    rng = np.random.default_rng(seed)
    front = Front(rng.random(size), rng.random((size, costs)).round(1), 0.0, np.full(costs, REFERENCE))
    score, where = rng.random(5), rng.random((5, costs)).round(1)
    found = expected_hypervolume_improvement(score, np.zeros(5), where, front)
    base = volume(front.scores, front.costs)
    added = [volume(np.r_[front.scores, score[i]], np.vstack([front.costs, where[i]])) - base for i in range(5)]
    assert found == pytest.approx(np.array(added), abs=1e-9)


def test_more_doubt_never_makes_a_row_worth_less():
    rng = np.random.default_rng(3)
    front = Front(rng.random(5), rng.random((5, 1)), 0.0, np.array([REFERENCE]))
    mean, where = rng.random(50), rng.random((50, 1))
    gains = [expected_hypervolume_improvement(mean, np.full(50, sd), where, front) for sd in (0.0, 0.05, 0.2, 0.8)]
    assert all((b >= a - 1e-12).all() for a, b in itertools.pairwise(gains))


def test_points_beyond_the_reference_make_no_front():
    front = Front(np.array([-1.0, 5.0]), np.array([[0.5], [2.0]]), 0.0, np.array([REFERENCE]))
    alone = expected_hypervolume_improvement(np.array([1.0]), np.zeros(1), np.array([[0.1]]), front)
    assert alone == pytest.approx([1.0])
