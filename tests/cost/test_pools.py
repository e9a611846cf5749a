"""Pools of families that are enumerated one network at a time, and the law of their step times."""

from dataclasses import replace

import numpy as np
import pytest

from halosearch.analysis.law_of_costs import law_of
from halosearch.cost.candidate_pool import Limits
from halosearch.cost.pools import pool_within
from halosearch.errors import InfeasibleError
from halosearch.families.known import candidate_text, config_of_dials, count, parse_candidate, search_of

SEARCH = search_of("efficientnet")


@pytest.mark.parametrize("name", [f"efficientnet-b{index}" for index in range(8)])
def test_every_published_member_is_in_the_default_pool_of_its_own_budget(name):
    member = SEARCH.published[name]
    size = min(SEARCH.space().image_size, key=lambda s: abs(s - member.image_size))
    rows = pool_within("efficientnet", SEARCH.space(image_size=(size,)), Limits(count(member).params, 0.001))
    found = {config_of_dials(row) for row in rows.to_dict("records")}
    assert replace(member, image_size=size) in found


def test_no_two_rows_are_the_same_network_and_all_are_counted_exactly_within_the_budget():
    rows = pool_within("efficientnet", SEARCH.space(image_size=(64, 96)), Limits(12_000_000, 0.05))
    configs = [config_of_dials(row) for row in rows.to_dict("records")]
    assert len(rows) > 50
    assert len(set(configs)) == len(configs)
    assert len({(c.stages(), c.stem_width, c.final_width, c.image_size) for c in configs}) == len(configs)
    for row, config in zip(rows.to_dict("records"), configs, strict=True):
        cost = count(config)
        assert (row["params"], row["macs"], row["activations"]) == (cost.params, cost.macs, cost.activations)
        assert 11_400_000 <= cost.params <= 12_600_000
        assert parse_candidate(candidate_text(config)) == config


def test_a_ceiling_on_macs_keeps_the_cheaper_rows_and_says_the_least():
    space = SEARCH.space(image_size=(64, 96))
    free = pool_within("efficientnet", space, Limits(12_000_000, 0.05))
    ceiling = int(free["macs"].median())
    assert len(pool_within("efficientnet", space, Limits(12_000_000, 0.05, ceiling))) == (free["macs"] <= ceiling).sum()
    with pytest.raises(InfeasibleError, match="MACs"):
        pool_within("efficientnet", space, Limits(12_000_000, 0.05, 1000))


def test_the_nearest_budgets_that_are_named_are_feasible():
    space = SEARCH.space(image_size=(64,), width=(0.5, 1.0), depth=(0.6, 1.1))
    with pytest.raises(InfeasibleError, match="smallest feasible") as error:
        pool_within("efficientnet", space, Limits(100_000_000, 0.01))
    nearest = int(str(error.value.hint).rsplit(" ", 1)[1])
    assert len(pool_within("efficientnet", space, Limits(nearest, 1e-9))) > 0


def test_the_interval_of_a_predicted_step_holds_for_networks_that_were_not_timed():
    """Steps that follow a law with 10 % noise: of 300 laws of 16 steps each, the intervals hold a 17th as often as they say."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        costs = [{"macs": 10 ** rng.uniform(8, 10), "activations": 10 ** rng.uniform(5.5, 7)} for _ in range(17)]
        slope = rng.uniform(0.2, 0.8)
        steps = [
            1e-7 * c["macs"] ** slope * c["activations"] ** (1 - slope) * np.exp(0.1 * rng.normal()) for c in costs
        ]
        law = law_of(list(zip(costs[:-1], steps[:-1], strict=True)))
        said = law.predict(costs[-1])
        held += said["predicted_step_time_low_s"] <= steps[-1] <= said["predicted_step_time_high_s"]
    assert 0.91 <= held / 300 <= 1.0
