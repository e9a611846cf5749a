"""Expectations as text, and verdicts: false ones, right ones, and the intervals beside them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from halosearch.analysis.expectations import parse_expectation
from halosearch.analysis.verdicts import (
    CONFIRMED,
    REFUTED,
    UNDECIDED,
    detectable_effect,
    detectable_margin,
    judge,
    power_of,
    seeds_for,
)
from halosearch.errors import UsageError

ARMS = ("b=4,h=4", "b=8,h=2", "global", "conv=0", "conv=2")


@pytest.mark.parametrize(
    ("text", "weights", "bound", "margin"),
    [
        ("score(b=4, h=4) > score(b=8,h=2)", {"b=4,h=4": 1, "b=8,h=2": -1}, 0, None),
        ("score(b=8,h=2) < score(b=4,h=4) - 0.01", {"b=4,h=4": 1, "b=8,h=2": -1}, 0.01, None),
        ("|score(global) - score(conv=0)| < 0.02", {"global": 1, "conv=0": -1}, 0, 0.02),
        ("abs(score(global) - score(conv=0) - 0.1) < 0.02", {"global": 1, "conv=0": -1}, 0.1, 0.02),
        ("step_time(conv=2) < 0.5 * step_time(conv=0)", {"conv=0": 1, "conv=2": -1}, math.log(2), None),
        ("step_time(conv=2) / 2 > step_time(conv=0)", {"conv=2": 1, "conv=0": -1}, math.log(2), None),
        (
            "(score(global) - score(conv=0)) > (score(b=4,h=4) - score(b=8,h=2))",
            {"global": 1, "conv=0": -1, "b=4,h=4": -1, "b=8,h=2": 1}, 0, None,
        ),
    ],
)  # fmt: skip
def test_an_expectation_is_a_sum_over_arms_and_a_bound(text, weights, bound, margin):
    found = parse_expectation(text, ARMS)
    assert (dict(found.weights), found.margin) == (weights, margin)
    assert found.bound == pytest.approx(bound)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9))
def test_sums_mean_what_arithmetic_says(a, b, c, d):
    """The same text evaluated as arithmetic, with numbers in the arms' places."""
    text = f"{a}*score(global) + {b}*(score(conv=0) - {c}) > -score(conv=2)/{d}"
    values = {"global": 0.3, "conv=0": -1.7, "conv=2": 2.9}
    left = a * values["global"] + b * (values["conv=0"] - c)
    right = -values["conv=2"] / d
    found = parse_expectation(text, ARMS)
    assert sum(w * values[arm] for arm, w in found.weights.items()) - found.bound == pytest.approx(left - right)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("score(x) > score(global)", "'x' that there is not"),
        ("score(globl) > score(conv=0)", "did you mean 'global'"),
        ("score(global)", "not one comparison"),
        ("", "cannot be read"),
        ("score(global", "cannot be read"),
        ("score(global) > step_time(conv=0)", "either scores or step times"),
        ("score(global) > score(global)", "either scores or step times"),
        ("1 < 2", "either scores or step times"),
        ("score(global) * score(conv=0) > 1", "multiplied"),
        ("|score(global) - score(conv=0)| > 0.2", "which of the two is larger"),
        ("|score(global) - score(conv=0)| < 0", "positive number"),
        ("score(global) == score(conv=0)", "only < and >"),
        ("__import__('os').system('x') > score(global)", "neither score"),
        ("score(global) > True", "scores or step times"),
        ("step_time(global) < 3", "FACTOR"),
        ("step_time(global) < -2 * step_time(conv=0)", "FACTOR"),
    ],
)
def test_what_is_no_expectation_is_said_with_a_way_out(text, why):
    with pytest.raises(UsageError) as error:
        parse_expectation(text, ARMS)
    assert why in f"{error.value} {error.value.hint}"
    assert error.value.hint


def measured(values):
    return {"score": {arm: dict(enumerate(row)) for arm, row in values.items()}}


TEXTS = ("score(a) > score(b)", "score(c) > score(b)", "score(d) > score(c)", "score(e) > score(a)")
EXPECTED = [parse_expectation(text, "abcde") for text in TEXTS]


def simulated(rng, means, seeds, shared=1.0, own=1.0):
    """Scores of arms that share what a seed brings."""
    seed = shared * rng.normal(size=seeds)
    return measured({arm: mean + seed + own * rng.normal(size=seeds) for arm, mean in means.items()})


@pytest.mark.parametrize("seeds", [4, 8])
def test_without_an_effect_at_most_one_experiment_in_twenty_decides_anything(seeds):
    rng, false = np.random.default_rng(seeds), 0
    for _ in range(1000):
        verdicts = judge(EXPECTED, simulated(rng, dict.fromkeys("abcde", 0.0), seeds))
        false += any(each.verdict != UNDECIDED for each in verdicts)
    assert false <= 50 + 2 * math.sqrt(1000 * 0.05 * 0.95)


def test_an_effect_that_was_designed_for_is_found_in_four_of_five_experiments():
    rng, sd = np.random.default_rng(5), math.sqrt(2)
    effect = detectable_effect(sd, 10, len(EXPECTED))
    assert seeds_for(effect, sd, len(EXPECTED)) == 10
    means = {"a": effect, "b": 0.0, "c": 0.0, "d": 0.0, "e": effect}
    found = [judge(EXPECTED, simulated(rng, means, 10))[0].verdict for _ in range(1000)]
    assert 0.775 <= found.count(CONFIRMED) / 1000 <= 0.90
    assert found.count(REFUTED) <= 2


def test_the_margin_that_was_designed_for_is_confirmed_between_equals_in_four_of_five():
    rng = np.random.default_rng(6)
    margin = detectable_margin(math.sqrt(2), 10, 1)
    expected = [parse_expectation(f"|score(a) - score(b)| < {margin}", "ab")]
    found = [judge(expected, simulated(rng, {"a": 0.0, "b": 0.0}, 10))[0].verdict for _ in range(1000)]
    assert 0.76 <= found.count(CONFIRMED) / 1000 <= 0.9
    far = [judge(expected, simulated(rng, {"a": margin, "b": 0.0}, 10))[0].verdict for _ in range(1000)]
    assert far.count(CONFIRMED) <= 50 + 2 * math.sqrt(1000 * 0.05 * 0.95)


def test_one_comparison_is_a_paired_t_test():
    rng = np.random.default_rng(7)
    for effect in (0.0, 1.0, 3.0):
        values = simulated(rng, {"a": effect, "b": 0.0}, 6)
        found = judge([EXPECTED[0]], values)[0]
        x = [values["score"]["a"][s] - values["score"]["b"][s] for s in range(6)]
        oracle = ttest_1samp(x, 0.0)
        assert found.p == pytest.approx(oracle.pvalue)
        low, high = oracle.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.verdict == (UNDECIDED if oracle.pvalue > 0.05 else CONFIRMED if np.mean(x) > 0 else REFUTED)


def test_a_verdict_and_the_interval_beside_it_say_the_same():
    rng = np.random.default_rng(8)
    expected = [*EXPECTED, parse_expectation("|score(a) - score(d)| < 2", "abcde")]
    for _ in range(300):
        means = {arm: rng.choice([0.0, 1.0, 3.0]) for arm in "abcde"}
        for each in judge(expected, simulated(rng, means, 8, own=0.5)):
            low, high, margin = each.low, each.high, each.expectation.margin
            if margin is None:
                apart = {CONFIRMED: low > 0, REFUTED: high < 0, UNDECIDED: low <= 0 <= high}
            else:
                apart = {
                    CONFIRMED: -margin < low and high < margin,
                    REFUTED: low > margin or high < -margin,
                    UNDECIDED: True,
                }
            assert apart[each.verdict]


def test_ratios_of_step_times_are_judged_by_signs_alone():
    """With heavy tails, too: the interval holds the true ratio in at least 95 %, and a ratio beyond its bound is found."""
    rng, held, expected = np.random.default_rng(9), 0, [parse_expectation("step_time(x) < 0.7 * step_time(y)", "xy")]
    for _ in range(500):
        steps = np.exp(rng.standard_t(2, size=(2, 21)) * 0.05)
        values = {"step_time": {"x": dict(enumerate(0.5 * steps[0])), "y": dict(enumerate(steps[1]))}}
        found = judge(expected, values)[0]
        held += 1 / found.high <= 0.5 <= 1 / found.low
        assert found.verdict == CONFIRMED
    assert held >= 475 - 2 * math.sqrt(500 * 0.05 * 0.95)


def test_seeds_that_an_arm_lacks_are_left_out_and_two_are_not_enough():
    values = {"score": {"a": {1: 1.0, 2: 1.1, 4: 1.2, 5: 1.4}, "b": {1: 0.0, 2: 0.2, 3: 9.0, 5: 0.3}}}
    found = judge([EXPECTED[0]], values)[0]
    assert found.n == 3
    assert found.effect == pytest.approx((1.0 + 0.9 + 1.1) / 3)
    del values["score"]["a"][1]
    none = judge([EXPECTED[0]], values)[0]
    assert (none.verdict, none.n, none.effect) == (UNDECIDED, 2, None)


def test_power_grows_with_effect_and_seeds_and_falls_with_comparisons():
    assert power_of(1.0, 1.0, 8, 1) < power_of(1.5, 1.0, 8, 1) < power_of(1.5, 1.0, 16, 1)
    assert power_of(1.0, 1.0, 8, 1) > power_of(1.0, 1.0, 8, 5)
    assert power_of(1e6, 1.0, 50, 1) == 1.0
    assert seeds_for(1e-6, 1.0, 1) is None
