import itertools

import numpy as np
import pytest
import torch

from halosearch.cost.timing import TimingPlan, anchor_config, interval, measure
from halosearch.families.halonet.notation import parse_candidate

TINY = "s=32,b=4,h=1,rb=0.5,l3=1,w=16,heads=1-1-1-1"


def test_interval_of_equal_samples_has_no_width_and_is_reproducible():
    assert interval([2.0, 2.0, 2.0]).low == interval([2.0, 2.0, 2.0]).high == 2.0
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 0.1, 15)
    assert interval(samples) == interval(samples)
    assert interval(samples).low < np.median(samples) < interval(samples).high


def test_the_interval_of_the_median_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = sum(m.low <= 1 <= m.high for m in (interval(rng.normal(1, 0.2, 15)) for _ in range(200)))
    assert hits >= 0.88 * 200


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
