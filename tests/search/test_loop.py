"""The loop with workers that answer in any order, die, stop: the record must come out the same."""

import random

import pandas as pd
import pytest

from halosearch.search.jobs import BROKEN, DIED, DONE, REFERENCE, RETEST, STOPPED, TRIAL, Event, MachineFaultError
from halosearch.search.loop import Loop, Plan, State
from halosearch.search.sampler import Outcome, Pool, Proposer

ROWS = pd.DataFrame({"x": range(50)})


class Ledger:
    def __init__(self):
        self.rows, self.ended, self.runs = [], {}, {}

    def propose(self, row):
        self.rows.append(row)
        return len(self.rows) - 1

    def begin_run(self, job):
        self.runs[job.key] = self.runs.get(job.key, 0) + 1
        return self.runs[job.key]

    def finish(self, job, state, result, reason):
        assert job.key not in self.ended, "finished twice"
        self.ended[job.key] = (state, reason)


class Workers:
    """Finishes jobs in random order; `fate` may make a job die, stop or break the machine."""

    def __init__(self, capacity, seed, fate=lambda job, run: DONE):
        self.capacity, self.rng, self.fate, self.jobs, self.stopping, self.runs = (
            capacity,
            random.Random(seed),
            fate,
            [],
            False,
            {},
        )

    def submit(self, job):
        assert len(self.jobs) < self.capacity
        self.jobs.append(job)
        self.runs[job.key] = self.runs.get(job.key, 0) + 1

    def poll(self, timeout_s):
        if not self.jobs:
            return []
        job = self.jobs.pop(self.rng.randrange(len(self.jobs)))
        if self.stopping:
            return [Event(STOPPED, job)]
        kind = self.fate(job, self.runs[job.key])
        if kind == "failed":
            return [Event(DONE, job, {"state": "failed", "reason": "NaN"})]
        x = job.dials["x"]
        result = {"state": "complete", "score": float((x * 7) % 13), "guide_cost": float(x), "step_time_s": 1.0}
        return [Event(kind, job, result if kind == DONE else {}, reason="killed")]

    def stop(self):
        self.stopping = True

    def close(self):
        pass


def run(workers, state=None, ledger=None, trials=20, retests=4, sampler="tpe", stop=lambda: False, seen=None):
    ledger = ledger or Ledger()
    pool = Pool(ROWS, ["x"])
    loop = Loop(
        Plan(trials, retests, 3),
        state or State(),
        Proposer(pool, sampler, 3, 3, 4),
        workers,
        ledger,
        pool.params,
        {"x": 49},
        lambda: not stop(),
        stop,
        lambda kind, job, info: seen.append((kind, job.key)) if seen is not None else None,
    )
    return loop.run(), ledger, loop.state


@pytest.mark.parametrize("capacity", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_any_number_of_workers_in_any_order_proposes_the_same_trials(capacity, seed):
    finished, ledger, _ = run(Workers(capacity, seed))
    assert finished
    assert ledger.rows == run(Workers(1, 99))[1].rows
    assert len(set(ledger.rows)) == 20
    kinds = [key.split("-")[0] for key in ledger.ended]
    assert (kinds.count(TRIAL), kinds.count(RETEST), kinds.count(REFERENCE)) == (20, 4, 1)


def test_trials_whose_workers_die_are_run_again_and_change_nothing_else():
    fate = lambda job, run: DIED if run == 1 and job.number % 3 == 0 else DONE  # noqa: E731
    finished, ledger, _ = run(Workers(3, 0, fate))
    assert finished
    assert ledger.rows == run(Workers(1, 0))[1].rows
    assert {state for state, _ in ledger.ended.values()} == {"complete"}
    assert ledger.runs["trial-3"] == 2


def test_a_trial_whose_workers_always_die_is_given_up_with_its_reason():
    finished, ledger, _ = run(Workers(2, 0, lambda job, run: DIED if job.number == 5 else DONE))
    assert finished
    assert ledger.ended["trial-5"] == ("failed", "killed, 3 times")
    assert ledger.runs["trial-5"] == 3


def test_failed_trials_are_rows_and_are_not_repeated_as_retests():
    _, ledger, state = run(
        Workers(2, 0, lambda job, run: "failed" if job.number in (0, 2) and job.kind == TRIAL else DONE)
    )
    assert ledger.ended["trial-0"] == ("failed", "NaN")
    assert state.finished_retests == {1, 3, 4, 5}
    assert state.outcomes[0] == Outcome(None)


@pytest.mark.parametrize("seed", range(6))
def test_a_study_stopped_again_and_again_ends_like_one_that_never_was(seed):
    expected = run(Workers(1, 0))[1].rows
    rng, ledger, finished = random.Random(seed), Ledger(), False
    state = State()
    for _ in range(60):
        budget = [rng.randrange(1, 8)]

        def stop(budget=budget):
            budget[0] -= 1
            return budget[0] < 0

        finished, _, state = run(
            Workers(3, seed),
            State(list(ledger.rows), dict(state.outcomes), set(state.finished_retests), state.reference_done),
            ledger,
            stop=stop,
        )
        if finished:
            break
    assert finished
    assert ledger.rows == expected
    assert len(ledger.ended) == 25


def test_an_exhausted_pool_ends_the_study():
    finished, ledger, _ = run(Workers(2, 0), trials=80, retests=0)
    assert finished
    assert sorted(ledger.rows) == list(range(50))


def test_a_fault_of_the_machine_ends_the_run_and_records_no_failure():
    ledger = Ledger()
    with pytest.raises(MachineFaultError):
        run(Workers(2, 0, lambda job, run: BROKEN if job.number == 4 else DONE), ledger=ledger)
    assert "trial-4" not in ledger.ended


def test_the_listener_hears_of_every_start_and_end():
    seen = []
    run(Workers(2, 0), seen=seen)
    assert sum(kind == "start" for kind, _ in seen) == sum(kind == "end" for kind, _ in seen) == 25
