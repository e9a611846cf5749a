"""The driver with workers that answer in any order, die, stop and break: what is recorded, and what the listener hears."""

import random

import pytest

from halosearch.errors import EnvironmentFault
from halosearch.record.evaluation import ANCHOR, COMPLETE, FAILED, HELD_OUT, REFERENCE, RETEST, TRIAL
from halosearch.record.trials import trials_of
from halosearch.run.driver import Control, Driver
from halosearch.run.protocol import BROKEN, DIED, DONE, PROGRESS, STOPPED, Event, MachineFaultError
from halosearch.search.planner import FINISHED, WAIT
from tests.search.studies import KINDS, design_of, ended, planner, play

DEVICE = {"torch": "2.13.0", "device": "CPU, x", "threads": 1, "python": "3.11"}


class Listener:
    def __init__(self):
        self.said, self.heard = [], []

    def message(self, text):
        self.said.append(text)

    def event(self, kind, row, info):
        self.heard.append((kind, row.key, row.rung, info))


class Rows:
    """A table in memory; it takes every row once, and every end once."""

    def __init__(self):
        self.appended, self.ended = [], {}

    def append(self, row, distributions):
        assert row.id == len(self.appended)
        self.appended.append(row)

    def end(self, row):
        assert row.id not in self.ended, "ended twice"
        self.ended[row.id] = row


class Workers:
    """Answers in random order; `fate` says how a run of a row ends: by an event's kind, or as failed."""

    def __init__(self, capacity=2, seed=0, fate=lambda row, run: DONE, top=0):
        self.capacity, self.rng, self.fate, self.top = capacity, random.Random(seed), fate, top
        self.rows, self.stopping, self.runs = [], False, {}

    def submit(self, row):
        assert len(self.rows) < self.capacity
        self.rows.append(row)
        self.runs[row.id] = self.runs.get(row.id, 0) + 1

    def poll(self, timeout_s):
        if not self.rows:
            return []
        row = self.rows.pop(self.rng.randrange(len(self.rows)))
        if self.stopping:
            return [Event(STOPPED, row)]
        kind = self.fate(row, self.runs[row.id])
        if kind == "failed":
            return [Event(DONE, row, {"state": FAILED, "reason": "NaN"})]
        result = {**ended(row, self.top).result, "state": COMPLETE}
        return [Event(kind, row, result if kind == DONE else {}, reason="killed")]

    def stop(self):
        self.stopping = True

    def close(self):
        pass


def drive(workers, kind=("tpe", 0, 0), rows=None, control=None, listener=None, **design):
    workers.top = kind[2]
    table = Rows()
    rows = [] if rows is None else rows
    table.appended = list(rows)
    driver = Driver(
        planner(design_of(*kind, **design)),
        workers,
        control or Control(),
        listener or Listener(),
        table,
        rows,
        top=kind[2],
    )
    return driver.run(), rows, table


def decided(rows):
    return [(row.id, row.kind, row.trial, row.rung, row.known, row.candidate) for row in rows]


@pytest.mark.parametrize("kind", KINDS[:4])
def test_it_makes_the_rows_that_the_planner_makes_alone(kind):
    status, rows, table = drive(Workers(3, 1), kind)
    assert status == FINISHED
    assert rows == play(design_of(*kind))[0]
    assert table.appended == [row for row in table.appended if row.state == "running"]
    assert [table.ended[row.id] for row in rows] == rows


def test_rows_whose_workers_die_are_run_again_and_change_nothing_else():
    fate = lambda row, run: DIED if run == 1 and row.trial % 3 == 0 else DONE  # noqa: E731
    _, rows, _ = drive(Workers(3, 0, fate))
    assert decided(rows) == decided(drive(Workers(1, 0))[1])
    assert {row.state for row in rows} == {COMPLETE}
    assert {row.runs for row in rows if row.trial % 3 == 0 and row.trial >= 0} == {2}


def test_a_row_whose_workers_always_die_is_given_up_with_its_reason():
    fate = lambda row, run: DIED if (row.kind, row.trial) == (TRIAL, 5) else DONE  # noqa: E731
    _, rows, _ = drive(Workers(2, 0, fate))
    [given_up] = [row for row in rows if row.kind == TRIAL and row.trial == 5]
    assert (given_up.state, given_up.reason, given_up.runs) == (FAILED, "killed, 3 times", 3)


def test_deaths_that_nobody_caused_and_runs_that_get_further_each_time_are_not_held_against_a_row():
    class Climbing(Workers):
        def poll(self, timeout_s):
            if self.rows and self.rows[0].trial == 4 and self.runs[self.rows[0].id] < 6:
                row = self.rows.pop(0)
                reached = Event(PROGRESS, row, {"images": 10 * self.runs[row.id], "total": 100, "loss": 1.0})
                return [reached, Event(DIED, row, reason="killed")]
            if self.rows and self.rows[0].trial == 5 and self.runs[self.rows[0].id] < 6:
                return [Event(DIED, self.rows.pop(0), reason="the connection broke", blameless=True)]
            return super().poll(timeout_s)

    _, rows, _ = drive(Climbing(1))
    assert {row.state for row in rows} == {COMPLETE}


def test_a_study_stopped_again_and_again_ends_like_one_that_never_was():
    kind = ("pool", 2, 1)
    expected = drive(Workers(1, 0), kind)[1]
    rng, rows, status = random.Random(4), [], WAIT
    for _ in range(200):
        left = [rng.randrange(1, 9)]
        control = Control(clock=lambda left=left: left.__setitem__(0, left[0] - 1) or -left[0], deadline=0)
        status, rows, _ = drive(Workers(3, rng.randrange(99)), kind, rows, control)
        if status == FINISHED:
            break
    assert status == FINISHED
    assert [(r.state, r.result, *d) for r, d in zip(rows, decided(rows), strict=True)] == [
        (r.state, r.result, *d) for r, d in zip(expected, decided(expected), strict=True)
    ]


def test_a_fault_of_the_machine_ends_the_run_and_records_no_failure():
    rows = []
    with pytest.raises(MachineFaultError):
        drive(Workers(2, 0, lambda row, run: BROKEN if row.trial == 4 else DONE), rows=rows)
    assert all(row.state != FAILED for row in rows)


def test_an_anchor_that_cannot_be_timed_ends_the_study_with_its_reason():
    with pytest.raises(EnvironmentFault, match="cannot be measured: NaN"):
        drive(Workers(1, 0, lambda row, run: "failed" if row.kind == ANCHOR else DONE))
    with pytest.raises(EnvironmentFault, match="cannot be measured: killed, 3 times"):
        drive(Workers(1, 0, lambda row, run: DIED if row.kind == ANCHOR else DONE))


class Timed(Workers):
    """The anchor takes half a second; a candidate's step is three times that, on a device of its own."""

    device = DEVICE

    def poll(self, timeout_s):
        events = super().poll(timeout_s)
        for event in events:
            if event.row.kind == ANCHOR:
                seconds = {"median": 0.5, "low": 0.5, "high": 0.5}
                event.result.update(seconds=seconds, device=DEVICE)
            else:
                ratio = {"median": 3.0, "low": 2.0, "high": 4.0}
                event.result["step_time"] = {"ratio_to_anchor": ratio, "device": self.device}
        return events


def test_ratios_become_seconds_of_the_anchor():
    _, rows, _ = drive(Timed())
    times = {row.result["step_time_s"] for row in rows if row.kind != ANCHOR}
    assert times == {1.5}
    assert all(row.result["step_time_low_s"] < 1.5 < row.result["step_time_high_s"] for row in rows[1:])


@pytest.mark.parametrize(("key", "value"), [("device", "CPU, y"), ("threads", 2), ("torch", "2.14.0")])
def test_step_times_of_another_device_are_refused(key, value):
    workers = Timed()
    workers.device = DEVICE | {key: value}
    with pytest.raises(MachineFaultError, match=f"measured with {key}"):
        drive(workers)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_the_listener_hears_of_every_start_and_every_end(kind):
    listener = Listener()
    _, rows, _ = drive(Workers(2, 0), kind, listener=listener)
    ends = [(key, rung) for what, key, rung, _ in listener.heard if what in ("end", "pause")]
    assert len(ends) == len(set(ends)) == len(rows)
    assert sum(what == "start" for what, *_ in listener.heard) == len(rows)
    assert any("the proxy here" in line for line in listener.said)
    assert {row.kind for row in rows} >= {ANCHOR, REFERENCE, TRIAL, RETEST, HELD_OUT}
    assert len(trials_of(rows)) == 18
