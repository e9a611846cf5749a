"""The planner is a function of the rows: any order of completion, any kills, 1 to 16 workers, failures at any rung, the same rows."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.analysis.frontier import frontier
from halosearch.analysis.rough_step_times import costed, worth_timing
from halosearch.analysis.validation_rows import forced
from halosearch.errors import StoreError
from halosearch.record.evaluation import (
    ANCHOR,
    FAILED,
    HELD_OUT,
    INFEASIBLE,
    NETWORK,
    RATE,
    REFERENCE,
    RETEST,
    RIVAL,
    RIVAL_HELD_OUT,
    RUNNING,
    STEP_TIME,
    TRIAL,
    Evaluation,
)
from halosearch.record.trials import trials_of
from halosearch.search.planner import DECIDED, FINISHED, REFUSED, WAIT
from tests.search.studies import FEATURES, KINDS, ROWS, UNIFORM, design_of, ended, planner, play

FAILS = (
    (STEP_TIME, 4, -1),
    (TRIAL, 2, 1),
    (TRIAL, 7, 0),
    (TRIAL, 9, 1),
    (RETEST, 1, -1),
    (TRIAL, 3, 0),
    (HELD_OUT, 1, -1),
)


RIVALS = ("efficientnet-b0:s=64", "resnet-50:s=64")


@cache
def alone(kind, fails=(), time_front=False, rivals=()):
    return play(design_of(*kind, time_front=time_front, rivals=rivals), fails=fails)[0]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.booleans(),
    st.integers(1, 16),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.sets(st.sampled_from(FAILS)),
    st.sampled_from([(), RIVALS]),
)
def test_any_order_of_completion_any_kills_any_number_of_workers_and_failures_give_the_same_rows(
    kind, time_front, workers, seed, kills, fails, rivals
):
    fails, design = tuple(sorted(fails)), design_of(*kind, time_front=time_front, rivals=rivals)
    rows, _ = play(design, workers=workers, seed=seed, kills=kills, fails=fails)
    assert rows == alone(kind, fails, time_front, rivals)


@pytest.mark.parametrize("kind", KINDS)
def test_rivals_come_last_get_the_finalists_seeds_and_change_nothing_before_them(kind):
    rows, without = alone(kind, rivals=RIVALS), alone(kind)
    assert rows[: len(without)] == without
    added = rows[len(without) :]
    assert [(row.kind, row.trial, row.repeat) for row in added] == [
        (kind, place, repeat)
        for place in range(len(RIVALS))
        for kind, repeat in ((RIVAL, 1), (RIVAL_HELD_OUT, 1), (RIVAL_HELD_OUT, 2))
    ]
    assert [row.candidate for row in added[::3]] == [{NETWORK: text} for text in RIVALS]
    assert {row.seed for row in added if row.kind == RIVAL} == {design_of(*kind).seed}
    finals = {row.seed for row in rows if row.kind == HELD_OUT}
    assert {row.seed for row in added if row.kind == RIVAL_HELD_OUT} == finals
    assert added[0].costs["params"] == 5_288_548


@pytest.mark.parametrize("kind", KINDS)
def test_a_planner_that_remembers_and_one_that_does_not_decide_the_same_from_every_prefix(kind):
    rows = alone(kind)
    mind = planner(design_of(*kind))
    for length in range(0, len(rows), 3):
        prefix = rows[:length]
        assert mind.plan(prefix) == planner(design_of(*kind)).plan(prefix)
    for length in (len(rows) - 1, 9, 20, 4):  # backwards, too
        assert mind.plan(rows[:length]).row == replace(rows[length], state=RUNNING, result={}, reason="", runs=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_study_follow_each_other_and_every_id_is_the_place_in_the_table(kind):
    design, rows = design_of(*kind), alone(kind)
    assert [row.id for row in rows] == list(range(len(rows)))
    order = [row.kind for row in rows]
    uniform = design.shape.uniform
    assert order[:2] == [ANCHOR, REFERENCE]
    assert order[2 : 2 + uniform] == [TRIAL] * uniform
    checks = 4 + 3 * 1 + 2
    assert set(order[2 + uniform : 2 + uniform + checks]) == {RETEST, RATE}
    assert order[-4:] == [HELD_OUT] * 4
    assert {row.known for row in rows[2 : 2 + uniform]} == {0}
    assert all(row.after is None or rows[row.after].trial == row.trial for row in rows)


@pytest.mark.parametrize(("eta", "top"), [(2, 1), (3, 2), (2, 3)])
def test_rungs_are_climbed_one_by_one_and_by_one_in_eta_of_the_searched(eta, top):
    trials = trials_of(play(design_of("pool", eta, top))[0])
    climbs = {trial.number: [rung for _, rung, _ in trial.moves] for trial in trials}
    assert all(climbs[n] == [top] for n in range(UNIFORM))
    searched = [climbs[n] for n in range(UNIFORM, len(trials))]
    assert all(rungs == list(range(len(rungs))) for rungs in searched)
    for rung in range(top):
        here, above = (sum(len(rungs) > r for rungs in searched) for r in (rung, rung + 1))
        assert above == here // eta
    assert {t.state for t in trials if len(climbs[t.number]) <= top and t.number >= UNIFORM} == {"pruned"}


def test_what_is_decided_waits_for_what_it_must_know():
    design = design_of("pool", 2, 1)
    mind, rows = planner(design), []
    rows.append(mind.plan(rows).row)
    assert mind.plan(rows).status == WAIT  # the anchor is timed before anything else runs
    rows[0] = ended(rows[0], 1)
    while (plan := mind.plan(rows)).status == DECIDED:
        rows.append(plan.row)
    assert [row.kind for row in rows] == [ANCHOR, REFERENCE, *[TRIAL] * UNIFORM]
    assert plan.status == WAIT


def test_an_anchor_that_failed_is_timed_again():
    mind = planner(design_of())
    [first] = [mind.plan([]).row]
    again = mind.plan([replace(first, state=FAILED, runs=1)])
    assert (again.row.kind, again.row.id) == (ANCHOR, 1)


def test_an_exhausted_pool_ends_the_study_with_its_finals():
    rows, plan = play(design_of("pool", 2, 1, trials=80), workers=3)
    assert plan.status == FINISHED
    assert {trial.dials["x"] for trial in trials_of(rows)} == set(ROWS["x"])
    assert rows[-1].kind == HELD_OUT


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("eta", [0, 2])
def test_a_pool_that_ends_among_the_rows_drawn_evenly_is_checked_and_has_its_finals(eta, workers):
    design = design_of("random", eta, 1 if eta else 0, trials=80)
    rows, plan = play(design, workers=workers, seed=5)
    alone = play(design)[0]
    assert plan.status == FINISHED
    assert rows == alone
    kinds = [row.kind for row in rows]
    assert [kinds.count(kind) for kind in (TRIAL, RETEST, RATE, HELD_OUT)] == [len(ROWS), 4 + 3, 2, 4]
    for length in range(len(ROWS), len(rows) + 1):
        assert planner(design).plan(rows[:length]).row == (None if length == len(rows) else _undecided(rows[length]))


def _undecided(row):
    return replace(row, state=RUNNING, result={}, reason="", runs=0)


def test_failed_trials_are_not_repeated_and_their_kin_take_their_place():
    rows = alone(("pool", 2, 1), ((TRIAL, 2, 1), (TRIAL, 3, 0)))
    retests = [row.trial for row in rows if row.kind == RETEST and row.repeat == 1]
    assert retests == [0, 1, 3, 4]


def test_a_proxy_that_does_not_rank_is_searched_only_by_force():
    def spoil(row):
        """Retests that turn the order round."""
        done = ended(row, 0)
        if row.kind == RETEST:
            done.result["scores"][-1]["score"] = done.result["score"] = -done.result["score"]
        return done

    for force, status in ((False, REFUSED), (True, DECIDED)):
        mind, rows = planner(design_of(retests=6, anchor_seeds=2, force=force)), []
        while (plan := mind.plan(rows)).status in (DECIDED, WAIT) and not plan.note:
            if plan.status == DECIDED:
                rows.append(plan.row)
            rows = [spoil(row) if row.state == RUNNING else row for row in rows]
        assert plan.status == status
        assert "R0 needs" in plan.note
        assert ("--force" in plan.note) == force
        assert forced(rows, UNIFORM) is None
    whole = play(design_of(retests=6, anchor_seeds=2, force=True), rows=list(rows))[0]
    reason = forced(whole, UNIFORM)
    assert reason in plan.note
    later = [replace(row, id=len(whole), repeat=row.repeat + 1) for row in whole if row.kind == RETEST]
    assert forced([*whole, *later], UNIFORM) == reason  # what came after the gate changes nothing
    better = [ended(replace(row, result={}), 0) if row.kind == RETEST else row for row in whole]
    assert forced([row for row in whole if row.kind != RETEST] + better, UNIFORM) is None


def test_a_search_without_retests_says_that_nothing_is_known_of_its_proxy():
    mind, rows = planner(design_of(retests=0, anchor_seeds=0, force=False)), []
    while not (plan := mind.plan(rows)).note:
        rows = [ended(row, 0) if row.state == RUNNING else row for row in [*rows, plan.row]]
    assert plan.row.trial == UNIFORM
    assert "unknown; no candidate was trained twice" in plan.note


@pytest.mark.parametrize("kind", [("pool", 2, 1), ("random", 0, 0)])
def test_who_is_on_the_front_is_timed_after_the_search_and_few_others(kind):
    rows = alone(kind, time_front=True)
    timed = {row.trial: row.result["step_time_s"] for row in rows if row.kind == STEP_TIME}
    kinds = [row.kind for row in rows]
    assert kinds.index(STEP_TIME) > max(place for place, kind in enumerate(kinds) if kind in (TRIAL, RETEST, RATE))
    assert kinds.index(HELD_OUT) == kinds.index(STEP_TIME) + len(timed)
    assert worth_timing(trials_of(rows)) == []
    measured = costed(trials_of(rows))
    assert set(frontier(measured)["trial"]) <= set(timed)
    assert list(measured["measured"]) == [number in timed for number in measured["trial"]]
    assert 3 <= len(timed) < measured["score"].notna().sum()


def test_a_step_that_finds_no_room_makes_its_candidate_infeasible_and_another_one_is_timed_for_it():
    best = max(trials_of(alone(("pool", 0, 0))), key=lambda trial: trial.result["score"]).number
    rows = alone(("pool", 0, 0), time_front=True)
    place = next(row.id for row in rows if row.kind == STEP_TIME and row.trial == best)
    missed = replace(rows[place], state=INFEASIBLE, result={}, reason="out of memory")
    again, _ = play(design_of("pool", time_front=True), rows=[*rows[:place], missed])
    assert trials_of(again)[best].state == INFEASIBLE
    assert best not in {row.trial for row in again if row.kind == HELD_OUT}
    assert worth_timing(trials_of(again)) == []


def test_a_study_that_is_prolonged_begins_with_the_same_rows_and_sends_as_many_on():
    short, _ = play(design_of("pool", 2, 2, trials=14))
    longer, _ = play(design_of("pool", 2, 2, trials=30), rows=list(short), workers=2)
    assert longer[: len(short)] == short
    whole, _ = play(design_of("pool", 2, 2, trials=30))

    def climbed(rows):
        return [sum(row.kind == TRIAL and row.trial >= UNIFORM and row.rung == rung for row in rows) for rung in (1, 2)]

    assert climbed(longer) == climbed(whole)


def test_a_trial_of_another_space_is_refused():
    rows = list(alone(("pool", 0, 0)))
    rows[4] = replace(rows[4], candidate={**rows[4].candidate, "x": 77})
    with pytest.raises(StoreError, match="not in this study's candidate pool"):
        planner(design_of("pool")).plan(rows)


def test_a_row_can_be_sent_to_another_process_and_is_known_again():
    import pickle

    row = Evaluation(3, TRIAL, dict.fromkeys(FEATURES, 1), trial=2)
    assert pickle.loads(pickle.dumps(row)) == row
    assert row.key == "trial-2"
    assert replace(row, kind=RETEST, repeat=2).key == "retest-2-2"
    assert Evaluation(0, ANCHOR, {}).key == "anchor"
