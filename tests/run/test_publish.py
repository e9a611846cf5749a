"""When the report is written while a study runs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from halosearch.analysis.frontier import frontier
from halosearch.record.folders import folders_of
from halosearch.record.store import COMPLETE, FAILED, Trial, table
from halosearch.report.publish import Publisher


class Empty:
    def trials(self):
        return []


def trial(number, score, step, state=COMPLETE):
    result = {"score": score, "step_time_s": step} if state == COMPLETE else {}
    return Trial(number, {}, {"params": 1}, state, result=result)


class Counting(Publisher):
    """Counts instead of writing; a report takes one second on the test's clock."""

    def __init__(self, clock):
        super().__init__(None, folders_of(Path(), "x"), Empty(), 1, clock=lambda: clock[0])
        self.written, self.time = [], clock

    def publish(self):
        self.written.append(self.time[0])
        self._owed, self._not_before = False, self.time[0] + 9.0


values = st.integers(0, 5).map(float)


@given(st.lists(st.tuples(values, values, st.sampled_from([COMPLETE, COMPLETE, FAILED])), max_size=25))
def test_the_front_kept_on_the_way_is_the_front(found):
    publisher = Counting([0.0])
    trials = [trial(n, *each) for n, each in enumerate(found)]
    for each in trials:
        publisher._joins_front(each)
    whole = frontier(table(trials)) if trials else []
    expected = {(row["score"], row["step_time_s"]) for _, row in whole.iterrows()} if len(whole) else set()
    assert set(publisher._front) == expected


def test_a_new_member_is_published_at_once_and_a_burst_of_them_a_tenth_of_the_time():
    clock = [0.0]
    publisher = Counting(clock)
    publisher.refresh(trial(0, 1.0, 1.0))
    assert publisher.written == [0.0]
    for n in range(1, 8):
        clock[0] = float(n)
        publisher.refresh(trial(n, 1.0 + n, 1.0 + n))
    assert publisher.written == [0.0]
    clock[0] = 9.5
    publisher.refresh(trial(9, 0.0, 50.0))
    assert publisher.written == [0.0, 9.5]
    clock[0] = 30.0
    publisher.refresh(trial(10, 0.0, 60.0))
    assert publisher.written == [0.0, 9.5]
