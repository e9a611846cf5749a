import itertools

import numpy as np
import pytest
import torch

from halosearch.cost.intervals import ENOUGH, Measured, interval
from halosearch.cost.steps import _LiveTensors, build_stepper
from halosearch.cost.subjects import subject_of
from halosearch.cost.timing import TimingPlan, anchor_config, measure
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.notation import parse_candidate
from halosearch.run.anchor import in_seconds
from halosearch.spec.presets import PRESETS

TINY = "s=32,b=4,h=1,rb=0.5,l3=1,w=16,heads=1-1-1-1"


def test_interval_of_equal_samples_has_no_width_and_is_reproducible():
    assert interval([2.0, 2.0, 2.0]).low == interval([2.0, 2.0, 2.0]).high == 2.0
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 0.1, 15)
    assert interval(samples) == interval(samples)
    assert interval(samples).low < np.median(samples) < interval(samples).high


@pytest.mark.parametrize("n", [6, 7, 9, 14, 18])
def test_the_interval_covers_the_median_at_least_as_often_as_it_says_for_any_distribution(n):
    """7 rounds are the default, 9 those of larger presets; an anchor has twice as many."""
    rng = np.random.default_rng(n)
    for draw, median in ((rng.standard_normal, 0.0), (rng.standard_exponential, np.log(2)), (rng.standard_cauchy, 0.0)):
        covered = [each.low <= median <= each.high for each in (interval(draw(n)) for _ in range(2000))]
        assert np.mean(covered) > 0.945  # 0.95 less three standard errors of 2,000 draws would be 0.935


def test_the_interval_of_few_samples_is_their_range():
    assert interval([3.0, 1.0, 2.0]) == Measured(2.0, 1.0, 3.0)


@pytest.mark.parametrize("preset", ["cpu-2m", "cpu-10m", "cpu-1h", "cpu-6h", "gpu-1h", "gpu-1d"])
def test_the_interval_in_seconds_covers_with_the_anchor_s_own_doubt_in_it(preset):
    """Rounds as the preset asks for them: a candidate's ratio, times an anchor that was timed once, in twice as many."""
    rounds = PRESETS[preset].timing_rounds
    assert rounds >= ENOUGH
    rng, hits, draws = np.random.default_rng(rounds), 0, 2000
    for _ in range(draws):
        ratio = interval(3.0 * np.exp(0.05 * rng.standard_normal(rounds))).to_dict()
        anchor = interval(0.5 * np.exp(0.08 * rng.standard_exponential(2 * rounds))).to_dict()
        found = in_seconds({"ratio_to_anchor": ratio}, {"seconds": anchor})
        assert found["step_time_s"] == pytest.approx(ratio["median"] * anchor["median"])
        hits += found["step_time_low_s"] <= 3.0 * 0.5 * 2**0.08 <= found["step_time_high_s"]
    assert hits / draws > 0.945


def test_memory_is_what_live_tensors_take_and_the_same_again_in_one_process():
    with _LiveTensors() as live:
        a = torch.ones(1000, 1000)
        b = a + 1  # 8 MB live
        del a
        c = b.view(10, -1) * 2  # a view takes nothing; 8 MB again
        assert live.peak == 8_000_000
        d = torch.cat([c, c])
        del b, c, d
    assert live.peak == 16_000_000
    config = parse_candidate(TINY)
    peaks = [build_stepper(subject_of(config), n, torch.device("cpu"), train=True).memory_bytes for n in (2, 4, 4, 2)]
    assert peaks[0] == peaks[3] < peaks[1] == peaks[2]
    assert peaks[0] > 3 * 4 * count(config).params  # weights, gradients, momentum


@pytest.mark.slow
def test_a_model_takes_longer_than_itself_at_a_fifth_of_the_size():
    small, big = parse_candidate(TINY), parse_candidate(TINY.replace("s=32", "s=160"))
    times = measure({"small": small, "big": big}, TimingPlan(4, 5, anchor_size=32), torch.device("cpu"))
    assert times[1].seconds.median > 2 * times[0].seconds.median
    assert times[1].ratio_to_anchor.median > times[0].ratio_to_anchor.median
    assert all(len(t.samples_s) == 5 and t.memory_bytes > 0 for t in times)


def test_a_clock_that_ticks_once_per_reading_gives_that_tick_per_step():
    ticks = itertools.count()
    timed = measure(
        {"a": parse_candidate(TINY)},
        TimingPlan(1, 3, steps=4, anchor_size=32, train=False),
        torch.device("cpu"),
        clock=lambda: float(next(ticks)),
    )
    assert timed[0].samples_s == (0.25, 0.25, 0.25)
    assert timed[0].ratio_to_anchor.median == pytest.approx(1.0)


def test_the_anchor_is_a_resnet50_of_squeeze_and_excite():
    assert anchor_config(224).stage_depths == (3, 4, 6, 3)
    assert set(anchor_config(224).stage_kinds) == {"conv"}


@pytest.mark.slow
def test_where_steps_can_be_captured_the_devices_own_is_what_is_timed_and_the_users_stands_beside_it(monkeypatch):
    """Replays of a pretended graph do nothing: their time is not the user's, and one that cannot be captured leaves none."""
    from halosearch.cost import timing

    monkeypatch.setattr(timing, "can_capture", lambda device: True)
    monkeypatch.setattr(timing, "captured", lambda stepper, device, pool: (lambda: None, "replayed CUDA graph"))
    config = parse_candidate(TINY)
    plan = TimingPlan(2, 6, anchor_size=32)
    found = measure({"a": config, "b": config}, plan, torch.device("cpu"))
    for each in found:
        assert (each.whose, each.how) == ("device", "replayed CUDA graph")
        assert len(each.samples_s) == 6
        assert len(each.user_samples_s) == timing.USER_ROUNDS
        assert each.user_seconds.median > 10 * each.seconds.median
        assert each.launch_bound
        assert each.to_dict()["launch_bound"] is True
    only_the_first = iter([(lambda: None, "replayed CUDA graph"), (None, "cannot be captured")] * 2)
    monkeypatch.setattr(timing, "captured", lambda stepper, device, pool: next(only_the_first))
    [other] = measure({"a": config}, plan, torch.device("cpu"))
    assert (other.whose, other.how) == ("user", "cannot be captured")
    assert other.user_seconds == other.seconds
    assert not other.launch_bound
