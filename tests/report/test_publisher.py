"""When the report is written while a study runs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from halosearch.analysis.frontier import frontier
from halosearch.record.evaluation import COMPLETE, FAILED, TRIAL, Evaluation
from halosearch.record.folders import folders_of
from halosearch.record.trials import table, trials_of
from halosearch.report.publisher import Publisher


def row(number, score, step, state=COMPLETE):
    result = {"score": score, "step_time_s": step} if state == COMPLETE else {}
    return Evaluation(number, TRIAL, {}, {"params": 1}, trial=number, rung=0, state=state, result=result, runs=1)


class Counting(Publisher):
    """Counts instead of writing; a report takes one second on the test's clock."""

    def __init__(self, clock):
        super().__init__(None, folders_of(Path(), "x"), [], 1, clock=lambda: clock[0])
        self.written, self.time = [], clock

    def publish(self):
        self.written.append(self.time[0])
        self._owed, self._not_before = False, self.time[0] + 9.0


values = st.integers(0, 5).map(float)


@given(st.lists(st.tuples(values, values, st.sampled_from([COMPLETE, COMPLETE, FAILED])), max_size=25))
def test_the_front_kept_on_the_way_is_the_front(found):
    publisher = Counting([0.0])
    rows = [row(n, *each) for n, each in enumerate(found)]
    for each in rows:
        publisher._joins_front(each)
    whole = frontier(table(trials_of(rows))) if rows else []
    expected = {(row["score"], row["step_time_s"]) for _, row in whole.iterrows()} if len(whole) else set()
    assert set(publisher._front.members) == expected


def test_a_new_member_is_published_at_once_and_a_burst_of_them_a_tenth_of_the_time():
    clock = [0.0]
    publisher = Counting(clock)
    publisher.refresh(row(0, 1.0, 1.0))
    assert publisher.written == [0.0]
    for n in range(1, 8):
        clock[0] = float(n)
        publisher.refresh(row(n, 1.0 + n, 1.0 + n))
    assert publisher.written == [0.0]
    clock[0] = 9.5
    publisher.refresh(row(9, 0.0, 50.0))
    assert publisher.written == [0.0, 9.5]
    clock[0] = 30.0
    publisher.refresh(row(10, 0.0, 60.0))
    assert publisher.written == [0.0, 9.5]


def test_a_page_that_cannot_be_made_is_one_line_and_stops_nothing(tmp_path):
    said = []
    folders = folders_of(tmp_path, "x")
    (folders.report).mkdir(parents=True)
    (folders.report / "index.html").write_text("the page before")
    publisher = Publisher(None, folders, [], 1, said.append)
    publisher.refresh(row(0, 1.0, 1.0))
    assert publisher.publish() is None
    assert len(said) == 2
    assert all("the page was not written" in line and "\n" not in line for line in said)
    assert (folders.report / "index.html").read_text() == "the page before"
