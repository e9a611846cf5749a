"""A study on a real Ray cluster of several nodes: what joins, leaves, dies and is refused. Slow: Ray takes its time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.distributed.chaos import moves_of, summary_of
from benchmarks.distributed.nodes import ROOT, Nodes, left_over
from halosearch.record.table import Table
from halosearch.record.trials import trials_of
from tests.cli.process import error_of, halosearch, tiny_search

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
DRIVE = [sys.executable, "-m", "benchmarks.distributed.drive"]
QUICK = {"QUICK_STEPS": "8", "OMP_NUM_THREADS": "1"}
WORDS = ["20", "--sampler", "nsga2", "--workers", "3"]


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def nodes(faults):
    made = Nodes(others=1, gpus=2, environment={**QUICK, "FAULTS": str(faults)})
    yield made
    assert made.close() == []
    assert left_over(made.temp) == []


def start(folder, *words, environment=None):
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*DRIVE, str(folder), *words],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={**os.environ, **QUICK, **(environment or {})},
        )


def said(folder):
    return (folder / "log").read_text()


def wait_for(what, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    assert start(folder, *WORDS).wait(120) == 0, said(folder)
    return folder


@pytest.mark.parametrize("engine", ["ray", pytest.param("ray-tune", marks=pytest.mark.long)])
def test_killed_workers_and_drivers_change_nothing(nodes, undisturbed, tmp_path, engine):
    if engine == "ray-tune":
        pytest.importorskip("pyarrow")
    words = [*WORDS, "--engine", engine, "--address", nodes.address]
    driver = start(tmp_path, *words)
    wait_for(lambda: "start trial-2" in said(tmp_path))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver = start(tmp_path, *words)
    wait_for(lambda: "end trial-4" in said(tmp_path))
    evaluating = [p for p in nodes.workers() if "--multiprocessing-fork" in " ".join(p.cmdline())]
    evaluating[0].kill()
    assert driver.wait(180) == 0, said(tmp_path)
    assert moves_of(tmp_path) == moves_of(undisturbed)
    assert summary_of(tmp_path) == summary_of(undisturbed)
    wait_for(lambda: not nodes.workers(), 10)
    assert not (tmp_path / "studies/quick/checkpoints").exists()


@pytest.mark.long
def test_a_trial_that_hangs_and_one_that_leaks_are_rows_with_reasons(nodes, faults, tmp_path):
    (faults / "trial-1").write_text("hang")
    (faults / "trial-3").write_text("leak")
    words = ["6", "--workers", "2", "--retests", "0", "--trial-time", "12", "--trial-memory", str(700 * 2**20)]
    driver = start(tmp_path, *words, "--engine", "ray", "--address", nodes.address)
    assert driver.wait(120) == 0, said(tmp_path)
    trials = trials_of(Table(tmp_path / "studies/quick/trials.journal", create=False, read_only=True).rows())
    assert trials[1].state == "failed"
    assert "12 s, the time that a trial may take" in trials[1].reason
    assert trials[3].state == "infeasible"
    assert "MiB of memory" in trials[3].reason
    assert {t.state for t in trials} - {"failed", "infeasible"} <= {"complete", "pruned"}
    for fault in faults.iterdir():
        fault.unlink()


@pytest.mark.long
def test_gpu_hours_are_counted_over_runs_and_end_the_study_in_order(nodes, tmp_path):
    words = ["60", "--workers", "2", "--gpus", "0.5", "--gpu-hours", "0.001"]
    driver = start(tmp_path, *words, "--engine", "ray", "--address", nodes.address)
    assert driver.wait(120) == 9, said(tmp_path)
    assert "GPU-hours are used, of 0.001" in said(tmp_path)
    assert "ended finished=False" in said(tmp_path)
    again = start(tmp_path, *words, "--engine", "ray", "--address", nodes.address)
    assert again.wait(120) == 9


@pytest.mark.long
def test_a_node_that_joins_takes_work_and_one_that_leaves_gives_it_back(nodes, tmp_path):
    driver = start(
        tmp_path, "300", "--sampler", "nsga2", "--workers", "6", "--engine", "ray", "--address", nodes.address
    )
    wait_for(lambda: "start trial-3" in said(tmp_path))
    nodes.join()
    wait_for(lambda: "6 of 6 workers run" in said(tmp_path), 60)
    assert nodes.kill(nodes.nodes[-1])
    wait_for(lambda: "requeued" in said(tmp_path) or driver.poll() is not None, 60)
    assert driver.wait(280) == 0, said(tmp_path)
    trials = trials_of(Table(tmp_path / "studies/quick/trials.journal", create=False, read_only=True).rows())
    assert len(trials) == 300
    assert {t.state for t in trials} <= {"complete", "pruned"}


@pytest.mark.long
def test_the_command_itself_runs_on_a_cluster_and_a_signal_ends_it_without_orphans(nodes, tmp_path):
    study = tiny_search(tmp_path)
    whole = halosearch("study", study, "--force", "--ray", nodes.address, cwd=tmp_path, check=0)
    assert "next: halosearch frontier tiny" in whole.stderr
    summary = (tmp_path / "reports/tiny/index.html").stat()
    assert summary.st_size > 10**6
    wait_for(lambda: not nodes.workers(), 10)


@pytest.mark.parametrize("sign", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_cluster_of_our_own_leaves_no_process_and_no_port_behind(tmp_path, sign):
    driver = start(tmp_path, "40", "--engine", "ray", "--workers", "2", environment={"QUICK_STEPS": "40"})
    wait_for(lambda: "start trial-1" in said(tmp_path))
    below = psutil.Process(driver.pid).children(recursive=True)
    ports = {c.laddr.port for p in below for c in _listening(p)}
    assert len(below) > 5
    assert ports
    driver.send_signal(sign)
    assert driver.wait(60) == 9, said(tmp_path)
    _, alive = psutil.wait_procs(below, timeout=5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    busy = {c.laddr.port for c in psutil.net_connections() if c.status == psutil.CONN_LISTEN and c.pid}
    assert not ports & busy


def _listening(process):
    try:
        return [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


@pytest.mark.long
def test_a_killed_driver_of_its_own_cluster_takes_everything_along(tmp_path):
    driver = start(tmp_path, "40", "--engine", "ray", "--workers", "2")
    wait_for(lambda: "start trial-1" in said(tmp_path))
    below = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.long
def test_wrong_addresses_and_tokens_are_one_sentence_each(nodes, tmp_path):
    study = tiny_search(tmp_path)
    nobody = halosearch("study", study, "--ray", "127.0.0.1:9", cwd=tmp_path, check=4)
    assert "no Ray head answers at 127.0.0.1:9" in error_of(nobody)
    client = halosearch("study", study, "--ray", "ray://127.0.0.1:10001", cwd=tmp_path, check=2)
    assert "is no address of a head" in error_of(client)
    other = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    refused = halosearch("study", study, "--ray", nodes.address, cwd=tmp_path, check=4, env=other)
    assert "does not let this account in" in error_of(refused)
    assert Path(tmp_path / "studies/tiny/logs/ray.log").exists()


@pytest.mark.long
def test_a_head_that_dies_ends_the_study_in_order_and_the_same_line_goes_on_elsewhere(tmp_path):
    with Nodes(others=0, environment=QUICK) as cluster:
        words = ["30", "--workers", "2", "--retests", "0"]
        driver = start(tmp_path, *words, "--engine", "ray", "--address", cluster.address)
        wait_for(lambda: "end trial-2" in said(tmp_path))
        cluster.kill(cluster.head)
        assert driver.wait(200) == 4, said(tmp_path)
    assert "times in a row: no Ray head answers" in said(tmp_path)
    assert start(tmp_path, *words).wait(120) == 0, said(tmp_path)
    trials = trials_of(Table(tmp_path / "studies/quick/trials.journal", create=False, read_only=True).rows())
    assert len(trials) == 30
    assert {t.state for t in trials} <= {"complete", "pruned"}
