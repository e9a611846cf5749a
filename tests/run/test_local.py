"""Real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from halosearch.record.evaluation import TRIAL, Evaluation
from halosearch.run.engines.limits import Limits
from halosearch.run.engines.local import LocalWorkers
from halosearch.run.protocol import BROKEN, DIED, DONE, PROGRESS, STOPPED
from tests.run.evaluations import make, make_without_a_module


@pytest.fixture
def workers(tmp_path):
    made = LocalWorkers(2, make, "hello", tmp_path)
    yield made
    made.close()


def news(workers, count=1, seconds=30):
    events, end = [], time.monotonic() + seconds
    while len(events) < count and time.monotonic() < end:
        events += [event for event in workers.poll(0.2) if event.kind != PROGRESS]
    return events


def row(do, number=0):
    return Evaluation(number, TRIAL, {"do": do}, trial=number)


def test_a_job_is_done_in_a_process_whose_output_goes_to_the_log(workers, tmp_path, capfd):
    workers.submit(row("work"))
    [event] = news(workers)
    assert event.kind == DONE
    assert event.result["argument"] == "hello"
    assert event.result["pid"] != os.getpid()
    workers.close()
    assert "worker talk" in (tmp_path / "trial-0.log").read_text()
    assert capfd.readouterr().out == ""


def test_a_killed_worker_costs_its_job_only_and_the_next_job_gets_a_new_one(workers):
    workers.submit(row("die"))
    workers.submit(row("work", 1))
    kinds = {event.row.trial: event for event in news(workers, 2)}
    assert kinds[0].kind == DIED
    assert "SIGKILL" in kinds[0].reason
    assert kinds[1].kind == DONE
    workers.submit(row("work", 2))
    assert news(workers)[0].kind == DONE


def test_whatever_an_evaluation_raises_is_a_failed_row_with_its_reason(workers, tmp_path):
    workers.submit(row("raise"))
    [event] = news(workers)
    assert event.result == {"state": "failed", "reason": "ValueError: boom"}
    workers.submit(row("full"))
    assert news(workers)[0].kind == BROKEN
    assert "Traceback" in (tmp_path / "trial-0.log").read_text()


def test_jobs_stop_when_asked(workers):
    workers.submit(row("wait"))
    workers.poll(5)
    workers.stop()
    assert news(workers)[0].kind == STOPPED


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    code = (
        "import sys,time;from pathlib import Path;from halosearch.run.engines.local import LocalWorkers;"
        "from tests.run.evaluations import make;from halosearch.record.evaluation import Evaluation as E\n"
        "if __name__=='__main__':\n"
        f" w=LocalWorkers(2,make,0,Path({str(tmp_path)!r}));[w.submit(E(i,'trial',{{'do':'wait'}})) for i in range(2)]\n"
        " print('\\n'.join(str(x.process.pid) for x in w._workers),flush=True);time.sleep(60)\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    driver = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert driver.stdout is not None
    pids = [int(driver.stdout.readline()) for _ in range(2)]
    assert all(psutil.pid_exists(pid) for pid in pids)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
def test_a_job_that_hangs_is_ended_and_its_place_is_free(tmp_path):
    workers = LocalWorkers(1, make, "hello", tmp_path, Limits(seconds=6.0))
    try:
        workers.submit(row("hang"))
        [event] = news(workers)
        assert event.result["state"] == "failed"
        assert event.result["reason"] == "was ended after 6 s, the time that a trial may take"
        workers.submit(row("work", 1))
        assert news(workers)[0].result["state"] == "complete"
    finally:
        workers.close()


def test_time_in_which_a_worker_or_everything_was_suspended_is_no_work(tmp_path, monkeypatch):
    """The clock is turned; the process is really stopped and goes on."""
    from halosearch.run.engines import local

    shift, plain = [0.0], time.monotonic
    monkeypatch.setattr(local.time, "monotonic", lambda: plain() + shift[0])
    workers = LocalWorkers(1, make, "hello", tmp_path, Limits(seconds=1000.0))

    def pass_time(step, times):
        for _ in range(times):
            shift[0] += step
            found = [event for event in workers.poll(0.01) if event.kind != PROGRESS]
            if found:
                return found
        return []

    try:
        workers.submit(row("hang"))
        while not any(event.kind == PROGRESS for event in workers.poll(0.2)):
            pass
        process = psutil.Process(workers._workers[0].process.pid)
        assert pass_time(10_000, 1) == []  # a lid was shut
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            pass
        assert pass_time(20, 100) == []
        process.resume()
        while process.status() == psutil.STATUS_STOPPED:
            pass
        assert pass_time(20, 20) == []
        [event] = pass_time(20, 40)
        assert event.result["reason"] == "was ended after 1,000 s, the time that a trial may take"
    finally:
        workers.close()


def test_a_job_that_leaks_is_ended_before_the_machine_suffers(tmp_path):
    workers = LocalWorkers(1, make, "hello", tmp_path, Limits(memory_bytes=600 * 2**20))
    try:
        workers.submit(row("leak"))
        [event] = news(workers)
        assert event.result["state"] == "infeasible"
        assert "a trial may take 600" in event.result["reason"]
        workers.submit(row("work", 1))
        assert news(workers)[0].result["state"] == "complete"
    finally:
        workers.close()


def test_a_missing_module_is_the_machine_s_fault_not_a_candidate_s(tmp_path):
    workers = LocalWorkers(1, make_without_a_module, "hello", tmp_path)
    try:
        workers.submit(row("work"))
        [event] = news(workers)
        assert event.kind == BROKEN
        assert event.reason == "a worker cannot begin: ModuleNotFoundError: No module named 'no_such_module'"
    finally:
        workers.close()


def test_workers_that_die_before_their_first_job_end_the_study(tmp_path, monkeypatch):
    workers = LocalWorkers(1, make, "hello", tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "filelock.py").write_text("import os; os._exit(7)")
    monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
    try:
        for number in range(2):
            workers.submit(row("work", number))
            assert news(workers)[0].kind == DIED
        workers.submit(row("work", 3))
        [event] = news(workers)
        assert event.kind == BROKEN
        assert "exit code 7" in event.reason
    finally:
        workers.close()
