"""The loop with workers that answer in any order, die, stop: the record must come out the same."""

import random

import pandas as pd
import pytest

from halosearch.run.jobs import (
    BROKEN,
    DIED,
    DONE,
    FINAL,
    REFERENCE,
    RETEST,
    STOPPED,
    TRIAL,
    Event,
    Job,
    MachineFaultError,
)
from halosearch.run.loop import Loop, Parts, State
from halosearch.search.pool import Pool
from halosearch.search.sampler import Guide, Outcome, Proposer
from halosearch.search.schedule import Schedule, Shape

ROWS = pd.DataFrame({"x": range(1, 51), "y": [(7 * i) % 11 for i in range(50)]})
TRIALS, UNIFORM, RETESTS = 20, 6, 4


def score(x, rung, seed):
    return float((x * 7) % 13) / (5 - rung) + 0.01 * (seed % 7)


class Ledger:
    """A record in memory: what `study.ledger` writes to a journal."""

    def __init__(self):
        self.moves, self.outcomes, self.pruned, self.ended, self.runs = [], {}, set(), {}, {}

    def move(self, move):
        assert move.number == len(self.moves)
        self.moves.append(move)

    def begin_run(self, job):
        self.runs[job.key, job.rung] = self.runs.get((job.key, job.rung), 0) + 1
        return self.runs[job.key, job.rung]

    def pause(self, job, result):
        assert job.move not in self.outcomes, "a rung was reached twice"
        self.outcomes[job.move] = Outcome(tuple(result["rung_scores"]), result["guide_cost"])

    def prune(self, trials):
        assert not self.pruned & set(trials)
        self.pruned |= set(trials)

    def finish(self, job, state, result, reason):
        assert job.key not in self.ended, "finished twice"
        self.ended[job.key] = (state, reason)
        if job.kind == TRIAL:
            scores = tuple(result["rung_scores"]) if state == "complete" else None
            self.outcomes[job.move] = Outcome(scores, float(result.get("guide_cost", 1.0)))

    def state(self):
        finished = {key for key in self.ended if not key.startswith(TRIAL)}
        return State(list(self.moves), dict(self.outcomes), set(self.pruned), finished)


class Workers:
    """Finishes jobs in random order; `fate` may make a job die, stop or break the machine."""

    def __init__(self, capacity, seed, fate=lambda job, run: DONE, top=0):
        self.capacity, self.rng, self.fate, self.jobs, self.stopping, self.runs, self.top = (
            capacity,
            random.Random(seed),
            fate,
            [],
            False,
            {},
            top,
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
        x, rung = job.dials["x"], self.top if job.rung < 0 else job.rung
        scores = [score(x, r, job.seed) for r in range(rung + 1)]
        result = {"state": "complete", "score": scores[-1], "rung_scores": scores, "guide_cost": float(x)}
        return [Event(kind, job, result if kind == DONE else {}, reason="killed")]

    def stop(self):
        self.stopping = True

    def close(self):
        pass


def run(
    workers,
    ledger=None,
    *,
    trials=TRIALS,
    sampler="tpe",
    eta=0,
    top=0,
    gate=lambda: True,
    finals=0,
    stop=lambda: False,
    seen=None,
):
    ledger = ledger or Ledger()
    workers.top = top
    pool = Pool(ROWS, ["x", "y"])
    guide = Guide("x", tuple(float(4**r) for r in range(top + 1)), reference=0.0)
    shape = Shape(trials, UNIFORM, top, eta, lag=3)
    schedule = Schedule(shape, Proposer(pool, sampler, 3, UNIFORM, guide))

    def checks(outcomes):
        known = []
        for number in range(UNIFORM):
            if number not in outcomes:
                break
            known += [number] if outcomes[number].scores else []
        return [Job(RETEST, n, pool.params(schedule.row_of(n)), 3 + 1000) for n in known[:RETESTS]]

    def last():
        done = sorted(
            int(k.split("-")[1]) for k, (s, _) in ledger.ended.items() if k.startswith(TRIAL) and s == "complete"
        )
        return [Job(FINAL, n, pool.params(schedule.row_of(n)), 9000, repeat=r) for n in done[:finals] for r in (1, 2)]

    loop = Loop(
        Parts(3, {"x": 49, "y": 0}, checks, gate, last),
        schedule,
        ledger.state(),
        workers,
        ledger,
        pool.params,
        lambda: not stop(),
        stop,
        lambda kind, job, info: seen.append((kind, job.key)) if seen is not None else None,
    )
    finished = loop.run()
    return finished, ledger, loop


def story(ledger):
    return [(m.trial, m.row, m.rung, m.known) for m in ledger.moves]


KINDS = [("tpe", 0, 0), ("pool", 0, 0), ("pool", 2, 1), ("pool", 3, 2)]


@pytest.mark.parametrize(("sampler", "eta", "top"), KINDS)
@pytest.mark.parametrize(("capacity", "seed"), [(2, 1), (4, 3)])
def test_any_number_of_workers_in_any_order_makes_the_same_moves(capacity, seed, sampler, eta, top):
    shape = {"sampler": sampler, "eta": eta, "top": top, "finals": 2}
    finished, ledger, _ = run(Workers(capacity, seed), **shape)
    assert finished
    assert story(ledger) == story(run(Workers(1, 99), **shape)[1])
    assert len({m.row for m in ledger.moves}) == TRIALS
    kinds = [key.split("-")[0] for key in ledger.ended]
    assert (kinds.count(RETEST), kinds.count(REFERENCE), kinds.count(FINAL)) == (RETESTS, 1, 4)
    assert kinds.count(TRIAL) + len(ledger.pruned) == TRIALS
    assert (len(ledger.pruned) > 0) == (eta > 0)


@pytest.mark.parametrize(("eta", "top"), [(2, 1), (3, 2), (2, 3)])
def test_rungs_are_climbed_one_by_one_and_by_one_in_eta_of_the_searched(eta, top):
    _, ledger, _ = run(Workers(3, 0), sampler="pool", eta=eta, top=top)
    climbs = {}
    for move in ledger.moves:
        climbs.setdefault(move.trial, []).append(move.rung)
    assert all(climbs[n] == [top] for n in range(UNIFORM))
    searched = [climbs[n] for n in range(UNIFORM, TRIALS)]
    assert all(rungs == list(range(len(rungs))) for rungs in searched)
    for rung in range(top):
        here, above = (sum(len(rungs) > r for rungs in searched) for r in (rung, rung + 1))
        assert above == here // eta
    assert {n for n in range(UNIFORM, TRIALS) if len(climbs[n]) <= top} == ledger.pruned


def test_trials_whose_workers_die_are_run_again_and_change_nothing_else():
    fate = lambda job, run: DIED if run == 1 and job.number % 3 == 0 else DONE  # noqa: E731
    finished, ledger, _ = run(Workers(3, 0, fate))
    assert finished
    assert story(ledger) == story(run(Workers(1, 0))[1])
    assert {state for state, _ in ledger.ended.values()} == {"complete"}
    assert ledger.runs["trial-3", 0] == 2


def test_a_trial_whose_workers_always_die_is_given_up_with_its_reason():
    finished, ledger, _ = run(Workers(2, 0, lambda job, run: DIED if job.number == 5 else DONE))
    assert finished
    assert ledger.ended["trial-5"] == ("failed", "killed, 3 times")
    assert ledger.runs["trial-5", 0] == 3


@pytest.mark.parametrize(("sampler", "eta", "top"), KINDS)
def test_failed_trials_are_rows_and_are_not_repeated_as_retests(sampler, eta, top):
    fate = lambda job, run: "failed" if job.number in (0, 2, 8, 9) and job.kind == TRIAL else DONE  # noqa: E731
    finished, ledger, loop = run(Workers(2, 0, fate), sampler=sampler, eta=eta, top=top)
    assert finished
    assert ledger.ended["trial-0"] == ("failed", "NaN")
    assert {key for key in ledger.ended if key.startswith(RETEST)} == {f"retest-{n}" for n in (1, 3, 4, 5)}
    assert loop.state.outcomes[0] == Outcome(None)


@pytest.mark.parametrize(("sampler", "eta", "top"), KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_a_study_stopped_again_and_again_ends_like_one_that_never_was(seed, sampler, eta, top):
    shape = {"sampler": sampler, "eta": eta, "top": top, "finals": 2}
    expected = run(Workers(1, 0), **shape)[1]
    rng, ledger, finished = random.Random(seed), Ledger(), False
    for _ in range(80):
        budget = [rng.randrange(1, 8)]

        def stop(budget=budget):
            budget[0] -= 1
            return budget[0] < 0

        finished, _, _ = run(Workers(3, seed), ledger, stop=stop, **shape)
        if finished:
            break
    assert finished
    assert story(ledger) == story(expected)
    assert ledger.ended == expected.ended
    assert ledger.pruned == expected.pruned


@pytest.mark.parametrize(("sampler", "eta", "top"), KINDS)
def test_an_exhausted_pool_ends_the_study(sampler, eta, top):
    finished, ledger, _ = run(Workers(2, 0), trials=80, sampler=sampler, eta=eta, top=top)
    assert finished
    assert sorted({m.row for m in ledger.moves}) == list(range(50))


def test_a_fault_of_the_machine_ends_the_run_and_records_no_failure():
    ledger = Ledger()
    with pytest.raises(MachineFaultError):
        run(Workers(2, 0, lambda job, run: BROKEN if job.number == 4 else DONE), ledger)
    assert "trial-4" not in ledger.ended


def test_the_search_begins_only_when_the_checks_are_done_and_the_gate_lets_it():
    asked = []

    def gate():
        asked.append(len(ledger.ended))
        return False

    ledger = Ledger()
    finished, _, loop = run(Workers(2, 0), ledger, gate=gate)
    assert (finished, loop.refused) == (False, True)
    assert len(ledger.moves) == UNIFORM
    assert asked == [UNIFORM + RETESTS + 1]
    finished, _, loop = run(Workers(2, 0), ledger)
    assert (finished, loop.refused, len(ledger.moves)) == (True, False, TRIALS)


@pytest.mark.parametrize(("sampler", "eta", "top"), KINDS)
def test_the_listener_hears_of_every_start_and_end(sampler, eta, top):
    seen = []
    _, ledger, _ = run(Workers(2, 0), seen=seen, sampler=sampler, eta=eta, top=top)
    ended = [key for kind, key in seen if kind == "end"]
    assert len(ended) == len(set(ended)) == TRIALS + RETESTS + 1
    assert sum(kind == "start" for kind, _ in seen) == len(ledger.moves) + RETESTS + 1
