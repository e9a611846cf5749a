import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.analysis.rough_step_times import NEAR, step_law, step_seconds, worth_timing
from halosearch.record.evaluation import COMPLETE, FAILED
from halosearch.record.trials import Trial


def trial(number, score, macs, seconds=None, state=COMPLETE):
    result = {"score": score} | ({} if seconds is None else {"step_time_s": seconds})
    return Trial(number, {}, {"macs": macs, "activations": 1000}, state, result=result)


def test_many_exact_times_give_the_law_back_and_none_give_ratios():
    rng = np.random.default_rng(0)
    costs = [{"macs": m, "activations": a} for m, a in np.exp(rng.normal(15, 2, (60, 2)))]
    law = step_law([(c, 1e-6 * c["macs"] ** 0.8 * c["activations"] ** 0.1) for c in costs])
    assert law.slopes == pytest.approx((0.8, 0.1), abs=0.01)
    assert law.seconds(costs[0]) == pytest.approx(
        1e-6 * costs[0]["macs"] ** 0.8 * costs[0]["activations"] ** 0.1, rel=0.05
    )
    free = step_law([])
    assert free.seconds({"macs": 400, "activations": 9}) / free.seconds(
        {"macs": 100, "activations": 9}
    ) == pytest.approx(2)


def test_one_time_sets_the_level_and_keeps_the_assumed_slopes():
    law = step_law([({"macs": 100, "activations": 100}, 3.0)])
    assert law.seconds({"macs": 400, "activations": 100}) == pytest.approx(6)


def test_measured_times_are_themselves_and_failures_have_none():
    found = step_seconds([trial(0, 0.5, 100, 2.0), trial(1, 0.6, 400), trial(2, 0.1, 100, state=FAILED)])
    assert found[0] == 2.0
    assert found[1] == pytest.approx(4.0)
    assert set(found) == {0, 1}


points = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10**4), st.booleans()), min_size=1, max_size=20)


@settings(deadline=None)
@given(points)
def test_who_is_left_out_is_dominated_even_if_it_were_faster_than_expected(found):
    trials = [trial(n, s / 20, macs, math.sqrt(macs) if timed else None) for n, (s, macs, timed) in enumerate(found)]
    expected, wanted = step_seconds(trials), worth_timing(trials)
    assert [trials[n].result["score"] for n in wanted] == sorted(
        (trials[n].result["score"] for n in wanted), reverse=True
    )
    for one in trials:
        better = [
            other
            for other in trials
            if other.result["score"] >= one.result["score"]
            and expected[other.number] <= expected[one.number] / NEAR
            and (other.result["score"], expected[other.number]) != (one.result["score"], expected[one.number] / NEAR)
        ]
        timed = "step_time_s" in one.result
        assert (one.number in wanted) == (not timed and not better)
