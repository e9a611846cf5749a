"""Ladders: what is trained, which shapes are best, how they scale, and the check of a forecast."""

import math
from dataclasses import replace

import numpy as np
import pytest

from halosearch.analysis.compound import STEP_TIME, Shape, best_by_budget, extrapolated, seeds_of, slopes
from halosearch.errors import InfeasibleError, UsageError
from halosearch.families.known import count, parse_candidate
from halosearch.record.evaluation import ARM, COMPLETE, NETWORKS, STEP_TIMES
from halosearch.report.ladder_summary import check_of, forecasts_in, losses_of, members_of, numbers_of
from halosearch.run.ladders import LadderRequest, new_ladder, with_check
from halosearch.search.experiment import rows_of


def here(device):
    del device
    return "cpu"


def ladder(tmp_path, budgets=(4_000_000, 8_000_000, 16_000_000, 32_000_000), shapes=3, **values):
    return new_ladder(LadderRequest("lad", tmp_path, budgets, (512, 1024), shapes, 4, values=values), here)[0]


def ended(spec, loss):
    """All rows of a ladder with the loss that a function of (params, images, seed, arm) gives."""
    rows = []
    for n, row in enumerate(row for row in rows_of(spec.experiment, spec.seed) if row.kind == ARM):
        scores = [
            {"score": 1 - loss(row.costs["params"], images, row.repeat, row.trial), "images_seen": images}
            for images in spec.preset.rungs
        ]
        rows.append(replace(row, id=n, state=COMPLETE, runs=1, result={"score": scores[-1]["score"], "scores": scores}))
    return rows


@pytest.mark.slow
def test_shapes_lie_within_their_budgets_and_are_all_different(tmp_path):
    spec = ladder(tmp_path)
    arms = spec.experiment.arms
    assert [arm.name for arm in arms] == [f"{b}-{n}" for b in ("4M", "8M", "16M", "32M") for n in range(3)]
    assert len({arm.network for arm in arms}) == 12
    for arm in arms:
        assert count(parse_candidate(arm.network)).params == pytest.approx(arm.budget, rel=0.02)
    assert ladder(tmp_path) == spec
    assert spec.preset.rungs == (512, 1024)
    assert sum(row.kind == ARM for row in rows_of(spec.experiment, 0)) == 48


@pytest.mark.parametrize(
    ("budgets", "values", "why"),
    [
        ((4_000_000, 8_000_000, 16_000_000), {}, "4 budgets at least"),
        ((4_000_000, 6_000_000, 9_000_000, 12_000_000), {"preset": "cpu-9h"}, "unknown preset"),
    ],
)
def test_what_is_no_ladder_is_refused(tmp_path, budgets, values, why):
    with pytest.raises(UsageError, match=why):
        ladder(tmp_path, budgets, **values)


def test_a_budget_that_nothing_has_is_said(tmp_path):
    with pytest.raises(InfeasibleError):
        ladder(tmp_path, (100_000, 6_000_000, 9_000_000, 12_000_000))


def test_the_best_shape_is_chosen_by_seeds_that_do_not_score_it(tmp_path):
    """With noise alone the winner's own score is too high by design, and the other half's is not."""
    rng, spec = np.random.default_rng(0), ladder(tmp_path, shapes=8)
    noise = rng.normal(size=(len(spec.experiment.arms), 5))
    rows = ended(spec, lambda params, images, seed, arm: 0.8 + 0.05 * noise[arm, seed])
    data = losses_of(spec, rows, "lad")
    assert len(data.loss_R) == 4 * 4 * 2  # budgets, seeds, lengths
    assert abs(data.loss_R.mean() - 0.8) < 3 * 0.05 / math.sqrt(8)
    chosen = {run.rsplit("-", 1)[0] for run in data.runs_R}
    assert len(chosen) > 4, "seeds do not agree on what is best"


def shape(budget, dials, score, n=0):
    return Shape(f"{budget}-{n}", budget, budget, dials, {1: score, 2: score, 3: score, 4: score})


def test_slopes_of_shapes_that_follow_a_power_law_are_its_exponents_and_carry_on():
    best = [
        shape(b, {"depth": 2 * (b / 1e6) ** 0.5, "final": 0.0}, 0.5) for b in (10**6, 2 * 10**6, 4 * 10**6, 8 * 10**6)
    ]
    worse = [shape(b, {"depth": 7.0, "final": 0.0}, 0.1, 1) for b in (10**6, 2 * 10**6, 4 * 10**6, 8 * 10**6)]
    assert best_by_budget([*worse, *best], [1, 2]) == best
    found = slopes(best, [])
    assert [each["dial"] for each in found] == ["depth"]  # what is nought has no logarithm
    assert (found[0]["slope"], found[0]["low"], found[0]["high"]) == pytest.approx((0.5, 0.5, 0.5))
    found = slopes([*worse, *best], [])  # had the best not been drawn, the slope would be another
    assert found[0]["slope"] == pytest.approx(0.5)
    assert found[0]["low"] < 0.5 < found[0]["high"]
    assert extrapolated([*worse, *best], 16 * 10**6) == pytest.approx({"depth": 8.0, "final": 0.0})


def test_the_interval_of_a_slope_is_wide_where_seeds_do_not_agree_on_the_best():
    rng = np.random.default_rng(1)
    shapes = [
        Shape(f"{b}-{n}", b, b, {"depth": float(depth)}, {seed: float(rng.normal()) for seed in range(1, 7)})
        for b in (10**6, 2 * 10**6, 4 * 10**6)
        for n, depth in enumerate((1, 4, 16))
    ]
    found = slopes(shapes, [])[0]
    assert found["high"] - found["low"] > 1.0
    assert seeds_of(shapes) == [1, 2, 3, 4, 5, 6]


def test_the_published_members_scale_as_the_paper_s_table_says():
    found = {each["dial"]: each for each in slopes(members_as_best(), members_of("halonet"))}
    for dial, slope in (("image_size", 0.34), ("stage3_depth", 0.52), ("expansion_ratio", 0.78), ("value_ratio", 0.55)):
        assert found[dial]["published"] == pytest.approx(slope, abs=0.05)


def members_as_best():
    return [replace(member, scores={1: 0.5, 2: 0.5}) for member in members_of("halonet")]


def test_a_check_adds_the_forecast_s_shape_and_others_and_says_whether_it_held(tmp_path):
    spec = ladder(tmp_path)
    with pytest.raises(UsageError, match="beyond the largest"):
        with_check(spec, 32_000_000, {}, rivals=3)
    there = "s=96,b=6,h=2,rv=3.5,rb=4,l3=25,df=1024"  # of that budget
    wish = {name: value for name, value in numbers_of(parse_candidate(there)).items() if name != "window"}
    checked = with_check(spec, 64_000_000, wish, rivals=3)
    added = checked.experiment.arms[12:]
    assert checked.experiment.arms[:12] == spec.experiment.arms
    assert [arm.name for arm in added][0] == "64M-forecast"
    assert numbers_of(parse_candidate(added[0].network)) == pytest.approx(numbers_of(parse_candidate(there)))
    assert len({arm.network for arm in added}) == 4
    assert all(
        arm.check and count(parse_candidate(arm.network)).params == pytest.approx(6.4e7, rel=0.02) for arm in added
    )

    def loss(params, images, seed, arm):
        return (0.7 if arm == 12 else 0.75) + 0.001 * seed + 0.0005 * (arm % 3) * (seed % 2)

    rows = ended(checked, loss)
    held = check_of(checked, rows, {64_000_000: {"loss": 0.70, "low": 0.68, "high": 0.72}})
    assert "the forecast held" in held[0]
    assert sum("It is better than" in line for line in held) == 3
    assert "did not hold" in check_of(checked, rows, {64_000_000: {"loss": 0.6, "low": 0.59, "high": 0.61}})[0]
    assert check_of(spec, rows[:3], {}) == []
    noisy = ended(checked, lambda params, images, seed, arm: 0.7 + 0.3 * (seed - 2.5))
    said = check_of(checked, noisy, {64_000_000: {"loss": 0.70, "low": 0.68, "high": 0.72}})[0]
    assert "is not decided" in said, "noise is no success"
    assert forecasts_in({"forecast-64000000": {"loss": 0.7}, "pool": {}}) == {64_000_000: {"loss": 0.7}}
    assert len(losses_of(checked, rows, "lad").loss_R) == 4 * 4 * 2  # what checks is not fitted


@pytest.mark.slow
def test_shapes_are_timed_and_scale_on_step_time_too(tmp_path):
    """A dial that goes as the square root of the step time, on budgets that the step time does not follow."""
    spec = ladder(tmp_path)
    rows = rows_of(spec.experiment, spec.seed)
    timed = [row for row in rows if row.kind == STEP_TIMES]
    assert [set(row.candidate[NETWORKS]) for row in timed] == [{arm.name for arm in spec.experiment.arms}]
    best = [
        replace(shape(b, {"depth": 4 * seconds**0.5}, 0.5), step_time_s=seconds)
        for b, seconds in ((10**6, 0.2), (2 * 10**6, 0.1), (4 * 10**6, 0.8), (8 * 10**6, 1.5))
    ]
    found = slopes(best, (), cost=STEP_TIME)
    assert found[0]["slope"] == pytest.approx(0.5)
    assert slopes([replace(each, step_time_s=None) for each in best], (), cost=STEP_TIME) == []
    without, _ = new_ladder(
        LadderRequest("other", tmp_path, (4_000_000, 8_000_000, 16_000_000, 32_000_000), (512,), 1, 2, values={"time_arms": False}), here
    )  # fmt: skip
    assert all(row.kind != STEP_TIMES for row in rows_of(without.experiment, 0))
