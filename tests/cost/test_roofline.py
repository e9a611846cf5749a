"""The floor against a prototype's published numbers, brute force, and one network against many."""

import numpy as np
import pytest
import torch

from halosearch.cost.candidate_pool import Limits, candidate_pool, dials_of_rows
from halosearch.cost.peaks import measure_peaks
from halosearch.cost.roofline import Peaks, Setting, floor_s, kernels, pairs_seen
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import HaloNetSpace, config_from_dials
from tests.cost.test_counts import random_configs

H100 = Peaks(798e12, 3.0e12)
EARLIER_MODEL_MS = {"h0": 5.70, "h1": 6.82, "h2": 7.57, "h4": 24.49, "h5": 47.46, "h6": 76.89, "h7": 142.17}
"""Practical training floors, batch 64 in bfloat16, of a traffic model written before and apart from this one."""


@pytest.mark.parametrize("name", EARLIER_MODEL_MS)
def test_floors_equal_those_of_a_model_written_apart_within_three_percent(name):
    ours = 1e3 * floor_s(dials_of(FAMILY[name]), Setting(64, True, 2), H100)
    assert ours == pytest.approx(EARLIER_MODEL_MS[name], rel=0.03)


@pytest.mark.parametrize(
    "geometry", [(16, 8, 3, 1), (16, 8, 3, 2), (19, 10, 3, 1), (19, 10, 3, 2), (7, 3, 2, 2), (5, 9, 1, 1)]
)
def test_pairs_seen_are_those_that_a_loop_over_positions_counts(geometry):
    side, block, halo, stride = geometry
    tile = min(block, side)
    expected = sum(
        query // tile * tile - halo <= key < query // tile * tile + tile + halo
        for query in range(0, side, stride)
        for key in range(side)
    )
    assert pairs_seen(side, block, halo, stride) == expected


def test_many_networks_at_once_have_the_floors_that_they_have_alone():
    rows = candidate_pool(HaloNetSpace(image_size=(48, 64), block_size=(4, 8)), Limits(10_000_000, 0.01))
    rows = rows.sample(40, random_state=0).reset_index(drop=True)
    setting, together = Setting(4, True, 4), np.empty(len(rows))
    for at, dials in dials_of_rows(rows):
        together[at] = floor_s(dials, setting, H100)
    alone = [floor_s(dials_of(config_from_dials(row)), setting, H100) for row in rows.to_dict("records")]
    assert together == pytest.approx(alone)


def test_work_of_forward_and_backward_is_about_three_times_that_of_forward_and_grows_with_the_batch():
    for config in random_configs(8, 3):
        sums = {
            setting: sum(float(each.repeat * each.flops) for each in kernels(dials_of(config), setting))
            for setting in (Setting(1, False, 4), Setting(1, True, 4), Setting(8, False, 4))
        }
        forward, both, more = sums.values()
        assert 2.8 < both / forward < 3.05
        assert more == pytest.approx(8 * forward)


def test_peaks_follow_from_the_clock_that_is_read():
    ticks = iter(range(1000))
    peaks = measure_peaks(torch.device("cpu"), clock=lambda: float(next(ticks)))
    assert peaks == Peaks(2 * 1536**3, 2 * 4 * 2**25)
