"""What a study sees of a bridge that works, falls, lies down, is refused or does not listen. Real processes, no Ray."""

import time
from pathlib import Path

import psutil
import pytest

from halosearch.errors import EnvironmentFault
from halosearch.record.evaluation import TRIAL, Evaluation
from halosearch.run.engines import ray_client as bridges_module
from halosearch.run.engines.limits import Limits
from halosearch.run.engines.ray_client import Cluster, RayClient, WorkPlan
from halosearch.run.protocol import DIED, DONE, PROGRESS, STOPPED
from tests.run import ray_processes as bridges


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(bridges_module, "AGAIN_AFTER_S", (0.0, 0.1, 0.1))
    monkeypatch.setattr(bridges_module, "END_GRACE_S", 2.0)
    made = []

    def make(serve):
        plan = WorkPlan(2, print, None, print, Limits(), Cluster(None, "n"), tmp_path)
        said = []
        made.append(RayClient(serve, plan, tmp_path / "checkpoints", tmp_path / "logs", said.append))
        return made[-1], said

    yield make
    for each in made:
        each.close()


def row(number=0, **dials):
    return Evaluation(number, TRIAL, dials, trial=number)


def news(bridge, count=1, seconds=30):
    events, end = [], time.monotonic() + seconds
    while len(events) < count and time.monotonic() < end:
        events += [event for event in bridge.poll(0.2) if event.kind != PROGRESS]
    return events


def heard(tmp_path):
    return (tmp_path / "heard").read_text().splitlines()


def test_a_result_comes_once_with_log_and_checkpoint(build, tmp_path):
    bridge, _ = build(bridges.obedient)
    bridge.submit(row())
    [event] = news(bridge)
    assert event.kind == DONE
    assert event.result["given"] is None
    assert (tmp_path / "logs" / "trial-0.log").read_text() == "said something\n"
    assert (tmp_path / "checkpoints" / "trial-0.pt").read_bytes() == b"state"
    assert bridge.poll(0.2) == []
    bridge.close()
    assert heard(tmp_path) == ["close"]


def test_capacity_is_what_is_there_but_never_more_than_was_asked_for(build):
    bridge, _ = build(bridges.obedient)
    assert bridge.capacity == 0
    bridge.poll(0)
    end = time.monotonic() + 30
    while bridge.capacity == 0 and time.monotonic() < end:
        bridge.poll(0.2)
    assert bridge.capacity == 2


def test_a_job_takes_its_checkpoint_along(build, tmp_path):
    bridge, _ = build(bridges.obedient)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "trial-0.pt").write_bytes(b"half way")
    bridge.submit(row())
    assert news(bridge)[0].result["given"] == b"half way"


def test_jobs_of_a_fallen_bridge_come_back_without_blame_and_another_bridge_is_built(build):
    bridge, said = build(bridges.falling)
    for _ in range(2):
        bridge.submit(row())
        [event] = news(bridge)
        assert event.kind == DIED
        assert event.blameless
    bridge.submit(row())
    assert news(bridge)[0].kind == DONE
    assert len(said) == 2


def test_a_cluster_that_never_comes_back_ends_the_study_with_a_sentence(build):
    bridge, said = build(bridges.dead)
    bridge.submit(row())
    with pytest.raises(EnvironmentFault, match="3 times in a row") as caught:
        news(bridge, count=9)
    assert "nothing recorded is lost" in caught.value.hint
    assert len(said) == 3


def test_a_refusal_is_said_at_once(build):
    bridge, said = build(bridges.refused)
    bridge.submit(row())
    with pytest.raises(EnvironmentFault, match="nobody answers") as caught:
        news(bridge)
    assert caught.value.hint == "start one"
    assert said == ["knocking"]


def test_that_no_worker_can_start_is_said_although_the_cluster_answers(build):
    bridge, _ = build(bridges.without_us)
    bridge.submit(row())
    with pytest.raises(EnvironmentFault, match="workers cannot start"):
        news(bridge)


def test_a_bridge_that_never_says_a_word_is_built_again(build, monkeypatch):
    monkeypatch.setattr(bridges_module, "SILENT_S", 1.0)
    bridge, said = build(bridges.mute)
    bridge.submit(row())
    [event] = news(bridge)
    assert event.blameless
    assert "broke" in said[0]


@pytest.mark.slow
def test_a_bridge_that_does_not_listen_is_ended_with_all_that_it_started(build, tmp_path):
    bridge, _ = build(bridges.deaf)
    bridge.submit(row())
    end = time.monotonic() + 30
    while not (tmp_path / "child").exists() and time.monotonic() < end:
        bridge.poll(0.2)
    child = psutil.Process(int(Path(tmp_path / "child").read_text()))
    bridge.close()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_stop_reaches_the_jobs(build):
    bridge, _ = build(bridges.stopping)
    bridge.submit(row())
    bridge.poll(0.2)
    bridge.stop()
    assert news(bridge)[0].kind == STOPPED
