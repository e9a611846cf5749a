"""R1 to R3: bounds that hold, verdicts that are right as often as they say."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from halosearch.analysis.rediscovery import (
    FAILED,
    FOUND_AGAIN,
    IMPROVED,
    PASSED,
    SEARCH_FAILED,
    UNDECIDED,
    found_again,
    lies_near,
    margin_of,
    member_is_good,
    upper_share,
)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_the_bound_on_a_share_holds_in_95_of_100_whatever_the_share_is(n):
    for share in np.linspace(0.01, 0.99, 50):
        held = sum(binom.pmf(k, n, share) for k in range(n + 1) if upper_share(k, n) >= share)
        assert held >= 0.95


def test_a_member_is_good_if_few_even_draws_beat_it_and_bad_if_many_do():
    even = list(np.linspace(0, 1, 40))
    assert member_is_good(even, 0.99).verdict == PASSED
    assert member_is_good(even, 0.87).verdict == UNDECIDED
    assert member_is_good(even, 0.5).verdict == FAILED
    assert member_is_good(even, None).verdict == UNDECIDED
    assert member_is_good(even[:5], 2.0).verdict == UNDECIDED  # five draws show nothing


def test_what_is_found_is_found_again_better_worse_or_not_decided():
    rng = np.random.default_rng(0)
    member = 0.3 + 0.002 * rng.normal(size=5)
    for shift, verdict, word in ((0.0, PASSED, FOUND_AGAIN), (0.1, PASSED, IMPROVED), (-0.1, FAILED, SEARCH_FAILED)):
        found = found_again((member + shift + 0.001 * rng.normal(size=5)).tolist(), member.tolist(), 0.01)
        assert (found.verdict, word in found.why) == (verdict, True)
    noisy = found_again((member + 0.05 * rng.normal(size=5)).tolist(), member.tolist(), 0.01)
    assert noisy.verdict == UNDECIDED
    assert found_again([0.3, 0.3], [0.3, 0.3], 0.01).verdict == UNDECIDED
    assert found_again([0.3] * 5, [0.3] * 5, None).verdict == UNDECIDED


def test_of_equals_at_most_one_in_twenty_is_called_better_or_worse():
    rng, sd, wrong = np.random.default_rng(1), 0.014, 0
    for _ in range(2000):
        best, member = 0.3 + sd * rng.normal(size=(2, 5))
        why = found_again(best.tolist(), member.tolist(), sd).why
        wrong += IMPROVED in why or SEARCH_FAILED in why
    assert wrong <= 0.05 * 2000


def test_the_margin_is_half_a_point_at_least():
    assert margin_of(0.001, 5) == 0.005
    assert margin_of(0.014, 5) == pytest.approx(2 * 0.014 / math.sqrt(5))


def test_near_is_nearer_than_all_but_one_in_twenty_rows():
    rng = np.random.default_rng(2)
    rows = [{"depth": float(rng.integers(1, 30)), "width": float(rng.uniform(0.5, 4))} for _ in range(200)]
    member = {"depth": 7.0, "width": 1.0}
    assert lies_near({"depth": 7.0, "width": 1.05}, member, rows).verdict == PASSED
    assert lies_near({"depth": 25.0, "width": 3.5}, member, rows).verdict == FAILED
    share = np.mean([lies_near(row, member, rows).verdict == PASSED for row in rows])
    assert 0.03 <= share <= 0.06
    assert lies_near(member, member, []).verdict == UNDECIDED
