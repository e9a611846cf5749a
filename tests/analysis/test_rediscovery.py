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
    Cell,
    found_again,
    lies_near,
    margin_of,
    member_is_good,
    scales_alike,
    trends_appear,
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


def by_seed(scores):
    return dict(enumerate(np.asarray(scores, float).tolist(), 1))


def test_what_is_found_is_found_again_better_worse_or_not_decided():
    rng = np.random.default_rng(0)
    member = 0.3 + 0.002 * rng.normal(size=5)
    for shift, verdict, word in ((0.0, PASSED, FOUND_AGAIN), (0.1, PASSED, IMPROVED), (-0.1, FAILED, SEARCH_FAILED)):
        found = found_again(by_seed(member + shift + 0.001 * rng.normal(size=5)), by_seed(member), 0.01, 5)
        assert (found.verdict, word in found.why) == (verdict, True)
    noisy = found_again(by_seed(member + 0.05 * rng.normal(size=5)), by_seed(member), 0.01, 5)
    assert noisy.verdict == UNDECIDED
    assert found_again(by_seed([0.3, 0.3]), by_seed([0.3, 0.3]), 0.01, 5).verdict == UNDECIDED
    assert found_again(by_seed([0.3] * 5), by_seed([0.3] * 5), None, 5).verdict == UNDECIDED


def test_a_seed_that_failed_leaves_the_others_paired_and_nothing_decided():
    member = np.random.default_rng(3).normal(0.3, 0.05, 5)
    best = by_seed(member + 0.012)
    assert found_again(best, by_seed(member), 0.001, 5).verdict == PASSED
    del best[2]
    found = found_again(best, by_seed(member), 0.001, 5)
    assert found.verdict == UNDECIDED
    assert "+0.012 [+0.012, +0.012], 4 seeds each" in found.why
    assert "5 seeds were to decide" in found.why
    assert found_again(best, by_seed(member), 0.001, 4).verdict == PASSED


def test_of_equals_at_most_one_in_twenty_is_called_better_or_worse():
    rng, sd, wrong = np.random.default_rng(1), 0.014, 0
    for _ in range(2000):
        best, member = 0.3 + sd * rng.normal(size=(2, 5))
        why = found_again(by_seed(best), by_seed(member), sd, 5).why
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


def cells(rng, exponent, sd, budgets=(4e6, 8e6, 16e6, 32e6)):
    """Cells whose best depth grows as params^exponent; the members' as params^0.5. Scores fall with the distance from the best depth."""
    found = []
    for params in budgets:
        best = 4 * (params / 4e6) ** exponent
        depths = np.exp(rng.uniform(0, math.log(40), 60))
        scores = 0.3 - 0.1 * np.log(depths / best) ** 2 + sd * rng.normal(size=60)
        candidates = [({"depth": depth, "halo": 0.0}, score) for depth, score in zip(depths, scores, strict=True)]
        found.append(
            Cell(f"m{params:g}", int(params), {"depth": 4 * (params / 4e6) ** 0.5, "halo": 0.0}, candidates, sd)
        )
    return found


@pytest.mark.slow
def test_cells_that_scale_as_the_members_pass_r4_and_others_do_not():
    rng = np.random.default_rng(2)
    alike = sum(scales_alike(cells(rng, 0.5, 0.01))[0].verdict == PASSED for _ in range(40))
    assert alike >= 36
    finding, rows = scales_alike(cells(rng, -0.5, 0.01))
    assert finding.verdict == FAILED
    assert [row["dial"] for row in rows] == ["depth"], "a dial that is nought has no logarithm"
    assert rows[0]["member"] == pytest.approx(0.5)
    assert rows[0]["low"] < rows[0]["slope"] < rows[0]["high"]
    assert scales_alike(cells(rng, 0.5, 0.01)[:2])[0].verdict == UNDECIDED


def test_trends_pass_only_if_all_are_confirmed():
    assert trends_appear({}).verdict == UNDECIDED
    assert trends_appear({"a": [("x > y", "confirmed")], "b": [("y > z", "confirmed")]}).verdict == PASSED
    assert trends_appear({"a": [("x > y", "confirmed"), ("y > z", "undecided")]}).verdict == UNDECIDED
    failed = trends_appear({"a": [("x > y", "confirmed"), ("y > z", "refuted")]})
    assert failed.verdict == FAILED
    assert failed.why.endswith("refuted: y > z")
