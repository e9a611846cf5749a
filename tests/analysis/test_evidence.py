"""Importance, the distribution of even draws, the comparison of two fronts."""

import math

import numpy as np
import pandas as pd
import pytest

from halosearch.analysis.comparison import Front, difference, hypervolumes
from halosearch.analysis.distribution import score_distribution
from halosearch.analysis.frontier import hypervolume
from halosearch.analysis.importance import MIN_TRIALS, importance


def rows(n, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    depth, width = rng.integers(6, size=n), rng.integers(6, size=n)
    words = rng.choice(["width", "published"], n)
    score = effect * depth + rng.normal(0, 0.5, n)
    return pd.DataFrame({"depth": depth, "width": width, "heads": words, "constant": 1, "score": score})


def test_the_dial_that_matters_is_first_and_beyond_chance_and_the_others_are_not():
    found = importance(rows(150), ("depth", "width", "heads", "constant"))
    assert [entry["dial"] for entry in found["dials"]][0] == "depth"
    assert {entry["dial"] for entry in found["dials"]} == {"depth", "width", "heads"}  # what does not vary has no share
    assert sum(entry["share"] for entry in found["dials"]) == pytest.approx(1)
    first, *others = found["dials"]
    assert first["share"] > first["chance"]
    assert all(entry["share"] < entry["chance"] for entry in others)


def test_without_an_effect_few_dials_pass_their_chance():
    passed = [
        entry["share"] > entry["chance"]
        for seed in range(8)
        for entry in importance(rows(60, seed, effect=0.0), ("depth", "width", "heads"))["dials"]
    ]
    assert sum(passed) <= 0.35 * len(passed)  # expected: one in ten


def test_importance_is_not_computed_from_few_trials_or_one_score():
    assert importance(rows(MIN_TRIALS - 1), ("depth",)) is None
    assert importance(rows(50).assign(score=1.0), ("depth",)) is None
    assert importance(rows(0), ("depth",)) is None


def test_importance_is_the_same_twice():
    assert importance(rows(250), ("depth", "width")) == importance(rows(250), ("depth", "width"))


def test_the_band_of_even_draws_holds_the_truth_in_nineteen_of_twenty_samples():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = score_distribution(rng.random(40).tolist(), 40)
        worst = max(
            max(abs(share - (1 - score)), abs(share - 1 / 40 - (1 - score))) for score, share in found["points"]
        )
        held += worst <= found["half_width"]
    assert held / 300 >= 0.93


def test_even_draws_without_a_score_count_as_worst():
    found = score_distribution([0.3, 0.1], 4)
    assert found["points"] == [[0.3, 0.25], [0.1, 0.5]]
    assert found["n"] == 2
    assert score_distribution([], 0) is None


def test_without_noise_the_hypervolume_of_the_draws_is_that_of_the_front():
    rng = np.random.default_rng(1)
    scores, costs = rng.random(30).tolist(), (rng.random(30) + 0.1).tolist()
    drawn = hypervolumes(Front(scores, costs, [1] * 30, 0.0), 2.0, draws=3)
    table = pd.DataFrame({"score": scores, "step_time_s": costs})
    assert drawn == pytest.approx([hypervolume(table, (0.0, 2.0))] * 3)


def study_of(rng, shift=0.0, n=25, noise=0.03):
    truth = 0.3 + 0.05 * rng.standard_normal(n) + shift
    return Front((truth + noise * rng.standard_normal(n)).tolist(), np.exp(rng.random(n)).tolist(), [1] * n, noise)


def test_two_samples_of_one_population_are_rarely_told_apart_and_a_real_difference_is():
    """The front of a sample is itself random, so the interval (of the scores' noise alone) may miss more often than one in twenty."""
    rng = np.random.default_rng(2)
    same = [study_of(rng) for _ in range(40)]
    noisy = 0
    for one in same:  # the same candidates measured again: the true difference is nought
        again = Front(
            [score + 0.03 * math.sqrt(2) * rng.standard_normal() for score in one.scores],
            one.costs,
            one.seeds,
            one.noise,
        )
        gap = difference(one, again)
        noisy += not gap["low"] <= 0 <= gap["high"]
    assert noisy <= 8
    gap = difference(study_of(rng, shift=0.3), study_of(rng))
    assert gap["low"] > 0
    assert difference(study_of(rng), study_of(rng, shift=0.3))["high"] < 0
