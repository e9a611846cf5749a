"""A study's loop on its real record, killed in the worst places: between the two writes of anything that takes two."""

import pytest
from halosearch.record.store import Store
from halosearch.run.jobs import DONE, Event
from halosearch.run.ledger import StudyLedger
from halosearch.run.loop import Loop, Parts
from halosearch.search.candidates import cell_of, past
from halosearch.spec.session import Request, resolve

from halosearch.families.halonet.counts import count
from halosearch.families.halonet.space import DIALS, config_from_dials
from halosearch.search.pool import Pool
from halosearch.search.sampler import POOL, Guide, Proposer
from halosearch.search.schedule import Schedule, Shape

RUNGS = (100, 400, 1600)
UNIFORM = 5


class KilledError(BaseException):
    """What SIGKILL looks like from inside: nothing below catches it."""


class Workers:
    """Answers at once; `fails` are (trial, rung) that end in a failure."""

    capacity = 2

    def __init__(self, fails=()):
        self.jobs, self.fails = [], set(fails)

    def submit(self, job):
        self.jobs.append(job)

    def poll(self, timeout_s):
        del timeout_s
        if not self.jobs:
            return []
        job = self.jobs.pop(0)
        if (job.number, job.rung) in self.fails:
            return [Event(DONE, job, {"state": "failed", "reason": "loss is nan"})]
        x = job.dials["image_size"] * job.dials["stage3_depth"]
        scores = [((7 * x) % 101) / (300 - 50 * rung) for rung in range(job.rung + 1)]
        result = {
            "state": "complete",
            "score": scores[-1],
            "rung_scores": scores,
            "scores": [{"score": s} for s in scores],
            "guide_cost": float(count(config_from_dials(job.dials)).macs),
            "step_time_s": 1.0,
            "seconds": 2.0,
            "train_seconds": 1.0,
        }
        return [Event(DONE, job, result)]

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def cell():
    (spec, _, _) = resolve(Request(params=6_000_000, name="x", device="cpu", preset="cpu-2m"), lambda _: "cpu")
    return cell_of(spec)


def run(path, cell, *, trials=24, fails=(), writes=None):
    """One run of the loop; `writes`: the store is killed after so many writes of any kind."""
    store = Store(path, create=True)
    if writes is not None:
        left = [writes]
        for name in ("propose", "promote", "begin_run", "pause", "finish"):
            setattr(store, name, _counted(getattr(store, name), left))
    store.finish_interrupted()
    pool = Pool(cell, DIALS)
    guide = Guide("macs", tuple(map(float, RUNGS)), reference=0.0)
    schedule = Schedule(Shape(trials, UNIFORM, 2, 2, 3), Proposer(pool, POOL, 1, UNIFORM, guide))
    ledger = StudyLedger(store, pool, "h0", RUNGS, lambda _: None)
    loop = Loop(
        Parts(1), schedule, past(store, pool), Workers(fails), ledger, pool.params, lambda: True, lambda: False,
        lambda kind, job, info: None,
    )  # fmt: skip
    return loop.run()


def _counted(write, left):
    def counted(*arguments, **named):
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return write(*arguments, **named)

    return counted


def record(path):
    return [
        (t.dials, t.state, t.moves, t.result.get("score"), t.reason)
        for t in Store(path, create=False, read_only=True).trials()
    ]


FAILS = ((7, 0), (9, 1), (12, 1), (8, 2), (2, 2))


def promoted_and_failed(path):
    return [n for n, (_, state, moves, _, _) in enumerate(record(path)) if state == "failed" and len(moves) > 1]


@pytest.mark.parametrize(
    ("fails", "moments"),
    [
        (FAILS, [7, 30, 61, 88, 90]),
        pytest.param((), range(3, 100, 4), marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param(FAILS, range(3, 100, 4), marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_killed_after_any_number_of_writes_the_record_ends_the_same(tmp_path, cell, fails, moments):
    assert run(tmp_path / "whole", cell, fails=fails)
    expected = record(tmp_path / "whole")
    for writes in moments:
        path = tmp_path / f"killed-{writes}"
        try:
            run(path, cell, fails=fails, writes=writes)
        except KilledError:
            assert run(path, cell, fails=fails)
        assert record(path) == expected, writes


def test_a_trial_that_failed_after_going_on_keeps_the_study_alive(tmp_path, cell):
    run(tmp_path / "j", cell)
    climbing = [n for n, (_, _, moves, _, _) in enumerate(record(tmp_path / "j")) if len(moves) == 2]
    fails = tuple((n, 1) for n in climbing[:2])
    run(tmp_path / "k", cell, fails=fails)
    assert promoted_and_failed(tmp_path / "k")
    before = record(tmp_path / "k")
    assert run(tmp_path / "k", cell, fails=fails, trials=30)
    after = record(tmp_path / "k")
    assert after[: len(before)] == before
    assert len(after) == 30


@pytest.mark.slow
def test_a_study_that_is_prolonged_sends_as_many_on_as_one_that_was_long_from_the_start(tmp_path, cell):
    run(tmp_path / "long", cell, trials=45)
    run(tmp_path / "short", cell, trials=25)
    run(tmp_path / "short", cell, trials=45)
    climbed = {
        name: [sum(len(moves) > rung for _, _, moves, _, _ in record(tmp_path / name)) for rung in (1, 2)]
        for name in ("long", "short")
    }
    assert climbed["short"] == climbed["long"] == [20, 10]


def test_trials_are_pruned_with_the_images_they_saw(tmp_path, cell):
    run(tmp_path / "j", cell)
    stopped = [row for row in record(tmp_path / "j") if row[1] == "pruned"]
    assert stopped
    assert {reason.split(" images")[0] for *_, reason in stopped} <= {"stopped after 100", "stopped after 400"}
