"""The anchor's step time: measured by a worker once, before any other job; and how results become seconds."""

import pytest

from halosearch.errors import EnvironmentFault
from halosearch.record.store import Store
from halosearch.run.anchor import Clocked, check_device, clock_of
from halosearch.run.jobs import BROKEN, CLOCK, DIED, DONE, PROGRESS, TRIAL, Event, Job, MachineFaultError

DEVICE = {"torch": "2.13.0", "device": "CPU, x", "threads": 1, "python": "3.11"}
ANCHOR = {"seconds": {"median": 0.5}, "device": DEVICE}


class Answers:
    """Workers that answer every job with the next of the given events."""

    capacity = 1

    def __init__(self, *answers):
        self.answers, self.jobs = list(answers), []

    def submit(self, job):
        self.jobs.append(job)

    def poll(self, timeout_s):
        del timeout_s
        answer = self.answers.pop(0)
        return [answer(self.jobs[-1])]

    def stop(self):
        pass

    def close(self):
        pass


def done(result):
    return lambda job: Event(DONE, job, result)


def died(**options):
    return lambda job: Event(DIED, job, reason="signal 9", **options)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "j", create=True)


def test_it_is_measured_once_and_then_read(store):
    workers = Answers(done({"state": "complete", "clock": ANCHOR}))
    assert clock_of(store, workers, lambda _: None, lambda: False) == ANCHOR
    assert [job.kind for job in workers.jobs] == [CLOCK]
    assert clock_of(store, Answers(), lambda _: None, lambda: False) == ANCHOR


def test_a_worker_that_dies_is_replaced_three_times_and_a_lost_connection_counts_for_nothing(store, tmp_path):
    good = done({"state": "complete", "clock": ANCHOR})
    lost = [died(blameless=True)] * 5
    assert clock_of(store, Answers(died(), died(), *lost, good), lambda _: None, lambda: False) == ANCHOR
    with pytest.raises(EnvironmentFault, match="signal 9"):
        clock_of(Store(tmp_path / "other", create=True), Answers(*[died()] * 3), lambda _: None, lambda: False)


def test_a_failed_measurement_ends_the_study_with_its_reason(store):
    failed = done({"state": "infeasible", "reason": "out of memory on cuda"})
    with pytest.raises(EnvironmentFault, match="out of memory on cuda"):
        clock_of(store, Answers(failed), lambda _: None, lambda: False)
    with pytest.raises(MachineFaultError, match="no data"):
        clock_of(store, Answers(lambda job: Event(BROKEN, job, reason="no data")), lambda _: None, lambda: False)


def test_a_stop_while_it_is_measured_leaves_nothing_behind(store):
    asked = iter([False, True])
    slow = Answers(lambda job: Event(PROGRESS, job))
    assert clock_of(store, slow, lambda _: None, lambda: next(asked)) is None
    assert CLOCK not in store.notes()


def measured(device):
    around = {"median": 3.0, "low": 2.0, "high": 4.0}
    return {"state": "complete", "step_time": {"ratio_to_anchor": around, "device": device}}


def test_ratios_become_seconds_of_the_anchor():
    clocked = Clocked(Answers(done(measured(DEVICE))), ANCHOR)
    clocked.submit(Job(TRIAL, 0, {}, 0))
    [event] = clocked.poll(0)
    found = {key: event.result[key] for key in ("step_time_s", "step_time_low_s", "step_time_high_s")}
    assert found == {"step_time_s": 1.5, "step_time_low_s": 1.0, "step_time_high_s": 2.0}


@pytest.mark.parametrize(("key", "value"), [("device", "CPU, y"), ("threads", 2), ("torch", "2.14.0")])
def test_step_times_of_another_device_are_refused(key, value):
    clocked = Clocked(Answers(done(measured(DEVICE | {key: value}))), ANCHOR)
    clocked.submit(Job(TRIAL, 0, {}, 0))
    [event] = clocked.poll(0)
    assert event.kind == BROKEN
    assert f"measured with {key}" in event.reason


def test_the_version_of_python_does_not_matter():
    check_device(ANCHOR, DEVICE | {"python": "3.13"})
