import itertools
import time

import numpy as np
import pytest

from halosearch.cost.candidate_pool import Limits, candidate_pool, count_rows, padding_waste, twin_macs
from halosearch.errors import InfeasibleError
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import (
    DIALS,
    MAX_PADDING_WASTE,
    HaloNetSpace,
    config_from_dials,
    dials_from_config,
)
from halosearch.families.halonet.twin import twin_of

SMALL = HaloNetSpace().with_overrides(
    {
        "s": [48, 64, 100],
        "b": [4, 7, 8, 16, "map"],
        "h": [0, 2],
        "rv": [1, 2.5],
        "rb": [0.5, 2, 3],
        "l3": [2, 9],
        "df": [0, 1024, 512],
        "conv": [0, 1, 3, 4],
    }
)


def by_brute_force(space, limits):
    """Build every combination as a config, canonicalise, filter, count: nothing shared with the enumeration but the closed form."""
    low, high = limits.params_range()
    found = set()
    for values in itertools.product(*(getattr(space, name) for name in DIALS)):
        dials = dict(zip(DIALS, values, strict=True))
        if dials["block_size"] == "map":
            dials["block_size"] = 10**6
        config = config_from_dials(dials)
        waste = padding_waste(np.array([config.image_size]), np.array([config.block_size]), dials["conv_stages"])[0]
        if low <= count(config).params <= high and waste <= MAX_PADDING_WASTE:
            found.add(config)
    return found


@pytest.mark.parametrize(
    "budget", [8_000_000, *(pytest.param(b, marks=pytest.mark.slow) for b in (5_000_000, 20_000_000))]
)
def test_a_cell_is_exactly_what_brute_force_finds(budget):
    limits = Limits(budget, 0.1)
    rows = candidate_pool(SMALL, limits)
    configs = [config_from_dials(row) for row in rows.to_dict("records")]
    assert len(set(configs)) == len(configs)
    assert set(configs) == by_brute_force(SMALL, limits)


def test_a_macs_ceiling_keeps_exactly_the_rows_below_it():
    free = candidate_pool(SMALL, Limits(8_000_000, 0.1))
    ceiling = int(free["macs"].median())
    assert len(candidate_pool(SMALL, Limits(8_000_000, 0.1, ceiling))) == int((free["macs"] <= ceiling).sum())
    with pytest.raises(InfeasibleError, match="MACs"):
        candidate_pool(SMALL, Limits(8_000_000, 0.1, 1000))


def test_rows_hold_the_counts_of_their_networks():
    rows = candidate_pool(HaloNetSpace(), Limits(9_000_000, 0.01)).sample(200, random_state=0)
    for row in rows.to_dict("records"):
        cost = count(config_from_dials(row))
        assert (cost.params, cost.macs, cost.activations) == (row["params"], row["macs"], row["activations"])


def test_the_default_cells_hold_the_published_models():
    for name in ("h0", "h1", "h4"):
        rows = candidate_pool(HaloNetSpace(), Limits(count(FAMILY[name]).params, 0.0005))
        dials = dials_from_config(FAMILY[name])
        match = np.logical_and.reduce(
            [
                rows[dial].astype(str) == str(rows[dial].dtype.type(dials[dial]) if dial != "heads" else dials[dial])
                for dial in DIALS
            ]
        )
        assert match.sum() == 1, name


def test_an_empty_cell_names_the_nearest_feasible_budgets():
    with pytest.raises(InfeasibleError) as caught:
        candidate_pool(HaloNetSpace(), Limits(300_000))
    assert "3,896,296" in caught.value.sentence
    assert caught.value.exit_code == 3
    nearest = int(caught.value.hint.split()[-1])
    assert len(candidate_pool(HaloNetSpace(), Limits(nearest, 1e-9))) > 0
    with pytest.raises(InfeasibleError):
        candidate_pool(HaloNetSpace(), Limits(500_000_000))


@pytest.mark.slow
def test_a_million_rows_are_counted_in_under_three_seconds_of_one_core():
    rows = candidate_pool(HaloNetSpace(), Limits(20_000_000, 0.02)).iloc[:1_000_000]
    assert len(rows) == 1_000_000
    started = time.process_time()
    counted = count_rows(rows)
    assert time.process_time() - started < 3
    assert (counted["params"].to_numpy() == rows["params"].to_numpy()).all()


def test_padding_waste_by_hand():
    # H7: blocks of 10 on maps of 150, 75, 38, 19; the worst is 75 or 38 padded to 80 and 40
    assert padding_waste(np.array([600]), np.array([10]), 0)[0] == pytest.approx((80 / 75) ** 2 - 1)
    assert padding_waste(np.array([256]), np.array([8]), 0)[0] == 0


def test_macs_of_twins_are_those_of_the_twins_themselves():
    rows = candidate_pool(HaloNetSpace(), Limits(20_000_000, 0.002)).sample(60, random_state=0)
    found = twin_macs(rows, 0.125)
    for index, row in enumerate(rows.to_dict("records")):
        assert found[index] == count(twin_of(config_from_dials(row), 0.125)).macs
