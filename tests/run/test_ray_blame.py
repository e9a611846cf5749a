"""A worker that dies before its row has told anything is not held against the row."""

import asyncio
import json
import queue
from types import SimpleNamespace

import pytest

from halosearch.record.evaluation import TRIAL, Evaluation
from halosearch.run.engines.ray_client import NEWS
from halosearch.run.engines.ray_engine import _Engine
from halosearch.run.protocol import DIED, PROGRESS, Event

ROW = Evaluation(3, TRIAL, {"s": 64})


class Actor:
    """Dies when it is given a row, or after it has told how far it is."""

    def __init__(self, tells):
        self.begin = SimpleNamespace(remote=self._begin)
        self.news = SimpleNamespace(remote=self._news)
        self.tells = tells

    async def _begin(self, row, checkpoint):
        if not self.tells:
            raise RuntimeError("its node left the cluster")

    async def _news(self, seen, wait_s):
        if seen:
            raise RuntimeError("its node left the cluster")
        return [(1, (NEWS, Event(PROGRESS, ROW)))]


@pytest.mark.parametrize("tells", [False, True])
def test_only_a_row_that_had_begun_is_blamed_for_its_worker(tells, monkeypatch):
    monkeypatch.setattr("ray.kill", lambda actor: None)  # else Ray begins a cluster

    async def live():
        said = []
        plan = SimpleNamespace(size=1)
        engine = _Engine(SimpleNamespace(send=said.append), queue.SimpleQueue(), plan, ("127.0.0.1", 1))
        for _ in range(2):  # the second time, too: another worker begins from nothing
            engine._actors[0], given = Actor(tells), []
            engine._waiting.put_nowait((ROW, None))
            with pytest.raises(RuntimeError) as lost:
                await engine._evaluate(engine._actors[0], given)
            engine._lose(0, engine._actors[0], given, str(lost.value))
        return [message[1] for message in said if message[0] == NEWS and message[1].kind == DIED]

    died = asyncio.run(live())
    assert [event.row for event in died] == [ROW, ROW]
    assert [event.blameless for event in died] == [not tells] * 2


def test_tune_passes_on_whether_a_row_is_to_blame(monkeypatch):
    pytest.importorskip("pyarrow")
    from halosearch.run.engines import ray_tune, tune_parts

    reported, said = [], []
    monkeypatch.setattr("ray.tune.report", reported.append)
    link = SimpleNamespace(live={"t": ROW}, errors={}, say=lambda *message: said.append(message))
    monkeypatch.setattr(tune_parts, "LINK", link)
    event = Event(DIED, ROW, reason="worker was killed by signal 9 (SIGKILL)", blameless=True)
    ray_tune._end(event, {"trial-0": "its words"})
    [result] = reported
    assert json.loads(result["end"])["event"]["kind"] == DIED
    tune_parts.RowSearcher.on_trial_complete(SimpleNamespace(), "t", result)
    assert said == [("log", "trial-0", b"its words"), (NEWS, event)]
