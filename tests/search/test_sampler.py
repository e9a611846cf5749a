import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.search.sampler import SAMPLERS, Outcome, Pool, PoolExhaustedError, Proposer

FEATURES = ["size", "ratio", "kind"]


def pool_of(n=60, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "size": rng.choice([48, 64, 96, 128], n),
            "ratio": np.round(rng.uniform(1, 4, n), 3),
            "kind": rng.choice(["a", "b"], n),
        }
    )
    return Pool(rows.drop_duplicates(ignore_index=True), FEATURES)


def objective(row):
    return Outcome(None) if row % 7 == 3 else Outcome((float(np.sin(row)), float(row % 11)))


def sequence(sampler, n, order=None, kills=(), lag=3):
    """Proposals when outcomes arrive as early (order=None) or as late as allowed, and after rebuilding from the record at `kills`."""
    proposer, rows, outcomes = Proposer(pool_of(), sampler, 5, lag, 6), [], {}
    for number in range(n):
        if number in kills:
            proposer = Proposer(pool_of(), sampler, 5, lag, 6)
            for row in rows:
                proposer.propose(outcomes, forced=row)
        known = range(number) if order is None else range(max(0, number - lag))
        outcomes = {i: objective(rows[i]) for i in known}
        assert proposer.ready(outcomes)
        rows.append(proposer.propose(outcomes))
    return rows


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_proposals_depend_on_outcomes_alone_not_on_workers_or_kills(sampler):
    undisturbed = sequence(sampler, 30)
    assert sequence(sampler, 30, order="late") == undisturbed
    assert sequence(sampler, 30, kills=(1, 8, 17, 29)) == undisturbed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_gaussian_process_replays_too():
    assert sequence("gp", 16) == sequence("gp", 16, kills=(13,))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_every_row_is_proposed_once_and_then_the_pool_is_exhausted(sampler):
    pool = pool_of(25)
    proposer = Proposer(pool, sampler, 0, 0, 4)
    rows, outcomes = [], {}
    for number in range(len(pool.rows)):
        rows.append(proposer.propose(outcomes))
        outcomes[number] = objective(rows[-1])
    assert sorted(rows) == list(range(len(pool.rows)))
    with pytest.raises(PoolExhaustedError):
        proposer.propose(outcomes)


def test_a_proposal_waits_for_the_outcomes_that_it_must_know():
    proposer = Proposer(pool_of(), "random", 0, 1, 1)
    proposer.propose({})
    proposer.propose({})
    assert not proposer.ready({})
    assert not proposer.ready({1: Outcome(None)})
    assert proposer.ready({0: Outcome(None)})


def test_other_seeds_propose_otherwise():
    rows = [[Proposer(pool_of(), "random", seed, 0, 1).propose({}) for _ in range(1)][0] for seed in range(12)]
    assert len(set(rows)) > 4


@settings(max_examples=60, deadline=None)
@given(st.integers(48, 128), st.floats(1, 4), st.sampled_from(["a", "b"]), st.sets(st.integers(0, 20)))
def test_the_nearest_unseen_row_is_the_nearest_of_all_unseen(size, ratio, kind, seen):
    pool = pool_of()
    for index in seen:
        pool.take(index)
    wish = {"size": size, "ratio": ratio, "kind": kind}
    found = pool.nearest_unseen(wish)

    def distance(i):
        row = pool.rows.iloc[i]
        low, high = pool.rows["ratio"].min(), pool.rows["ratio"].max()
        size_range = np.log(128 / 48) if 128 >= 4 * 48 else 128 - 48
        size_gap = (np.log(row["size"] / size) if 128 >= 4 * 48 else row["size"] - size) / size_range
        return size_gap**2 + ((row["ratio"] - ratio) / (high - low)) ** 2 + (row["kind"] != kind)

    best = min(distance(i) for i in range(len(pool.rows)) if i not in seen)
    assert found not in seen
    assert distance(found) == pytest.approx(best, abs=1e-4)


def test_a_pool_of_one_row_with_constant_features_works():
    pool = Pool(pd.DataFrame({"size": [64], "ratio": [1.5], "kind": ["a"]}), FEATURES)
    assert Proposer(pool, "tpe", 0, 0, 0).propose({}) == 0
    assert pool.params(0) == {"size": 64, "ratio": 1.5, "kind": "a"}
