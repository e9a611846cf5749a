import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.cost.candidate_pool import Limits, candidate_pool
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.space import DIALS, HaloNetSpace, config_from_dials
from halosearch.search.pool import Pool, PoolExhaustedError
from halosearch.search.pool_sampler import Guidance
from halosearch.search.sampler import OPTUNA, Guide, Outcome, Proposer
from halosearch.spec.study import POOL

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


GUIDE = Guide("size", Guidance(reference=-2.0))
FAST = [POOL, *(name for name in OPTUNA if name != "gp")]


def objective(row):
    return Outcome(None) if row % 7 == 3 else Outcome((float(np.sin(row)),), float(row % 11))


def sequence(sampler, n, kills=(), lag=3):
    """Proposals that know of all but the last `lag` trials, also after rebuilding from the record at `kills`."""
    proposer, rows = Proposer(pool_of(), sampler, 5, 6, GUIDE), []
    for number in range(n):
        if number in kills:
            proposer = Proposer(pool_of(), sampler, 5, 6, GUIDE)
            for before, row in enumerate(rows):
                if before - lag > 0:
                    proposer.tell(before - lag - 1, objective(rows[before - lag - 1]), final=True)
                proposer.propose(row)
        if number - lag > 0:
            proposer.tell(number - lag - 1, objective(rows[number - lag - 1]), final=True)
        rows.append(proposer.propose())
    return rows


@pytest.mark.parametrize("sampler", FAST)
def test_a_restart_from_the_record_changes_no_proposal(sampler):
    assert sequence(sampler, 30, kills=(1, 8, 17, 29)) == sequence(sampler, 30)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_gaussian_process_of_optuna_replays_too():
    assert sequence("gp", 16) == sequence("gp", 16, kills=(13,))


@pytest.mark.parametrize("sampler", FAST)
def test_every_row_is_proposed_once_and_then_the_pool_is_exhausted(sampler):
    pool = pool_of(25)
    proposer = Proposer(pool, sampler, 0, 4, GUIDE)
    rows = []
    for number in range(len(pool.rows)):
        rows.append(proposer.propose())
        proposer.tell(number, objective(rows[-1]), final=True)
    assert sorted(rows) == list(range(len(pool.rows)))
    with pytest.raises(PoolExhaustedError):
        proposer.propose()


def test_other_seeds_propose_otherwise():
    rows = [Proposer(pool_of(), "random", seed, 1, GUIDE).propose() for seed in range(12)]
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
    assert Proposer(pool, "tpe", 0, 0, GUIDE).propose() == 0
    assert Proposer(Pool(pool.rows, FEATURES), POOL, 0, 0, GUIDE).propose() == 0
    assert pool.params(0) == {"size": 64, "ratio": 1.5, "kind": "a"}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", FAST)
def test_over_twenty_seeds_every_proposal_is_inside_the_budget_and_none_comes_twice(sampler):
    """The real cell of 6 M parameters, with failures and trials that are still running."""
    space = HaloNetSpace().with_overrides({"s": [48, 64, 96]})
    rows = candidate_pool(space, Limits(6_000_000, 0.05))
    for seed in range(20):
        proposer = Proposer(Pool(rows, DIALS), sampler, seed, 4, Guide("macs", Guidance(reference=0.0)))
        taken = []
        for number in range(12):
            taken.append(proposer.propose())
            if number >= 3:
                cost = float(rows["macs"][taken[number - 3]])
                proposer.tell(number - 3, Outcome(None if number % 5 == 0 else (np.sin(number),), cost), final=True)
        assert len(set(taken)) == 12
        assert rows["params"][taken].between(5_700_000, 6_300_000).all()
        assert all(
            5_700_000 <= count(config_from_dials(rows.loc[row, list(DIALS)].to_dict())).params <= 6_300_000
            for row in taken
        )
