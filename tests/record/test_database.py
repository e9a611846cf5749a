"""A study in a real PostgreSQL, and in SQLite: what is written is there once, whatever the server does meanwhile."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from benchmarks.distributed.postgres import Server, programs
from halosearch.errors import EnvironmentFault, StoreError, UsageError
from halosearch.record.address import MARK, Database, shown
from halosearch.record.database import Patient, file_system_of, open_database, refuse_network_file, url_of
from halosearch.record.evaluation import COMPLETE, RETEST, RUNNING, TRIAL, Evaluation
from halosearch.record.study_lock import StudyLock
from halosearch.record.table import DECIDED, Table
from tests.record.test_table import COSTS, DIALS, DISTRIBUTIONS, RESULT

needs_postgres = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def server():
    with Server() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/trials.db", "halosearch x")
    return Database(request.getfixturevalue("server").url, f"halosearch {tmp_path.name}")


@pytest.fixture
def opened():
    """Stores that are closed at the end."""
    stores = []

    def make(*words, **options):
        stores.append(Table(*words, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def decided(number):
    return Evaluation(number, TRIAL, DIALS, COSTS, 0, number, 0)


def propose(store, number):
    store.append(decided(number), DISTRIBUTIONS)
    return number


def finish(store, number, result=RESULT):
    store.end(replace(decided(number), state=COMPLETE, result=result, runs=1))


def test_what_is_written_is_read_back_by_another_reader(database, opened):
    store = opened(database, create=True)
    store.set_fact("inputs", {"seed": 1})
    assert [propose(store, n) for n in range(3)] == [0, 1, 2]
    finish(store, 0)
    repeat = Evaluation(3, RETEST, DIALS, COSTS, 9, 0, repeat=2)
    store.append(repeat, DISTRIBUTIONS)
    read = opened(database, create=False, read_only=True)
    first, second, _, last = read.rows()
    assert (first.state, second.state) == (COMPLETE, RUNNING)
    assert first.result == RESULT
    assert last == repeat
    assert read.facts()["inputs"] == {"seed": 1}


def test_a_row_whose_insertion_was_answered_by_silence_is_there_once(database, opened):
    """Optuna repeats an insertion when the answer to its commit is lost."""
    store = opened(database, create=True)
    propose(store, 0)
    storage = store._storage
    backend = storage._backend if hasattr(storage, "_backend") else storage
    attributes = {**{name: getattr(decided(1), name) for name in DECIDED}, "costs": COSTS, MARK: "evaluation-1"}
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, params=DIALS, distributions=DISTRIBUTIONS, user_attrs=attributes
    )
    study = store._study(TRIAL)._study_id
    first = backend.create_new_trial(study, template_trial=trial)
    assert backend.create_new_trial(study, template_trial=trial) == first
    assert propose(store, 2) == 2
    assert len(opened(database, create=False, read_only=True).rows()) == 3


def test_studies_of_one_database_do_not_mix(database, opened):
    one, two = opened(database, create=True), opened(Database(database.url, database.study + "y"), create=True)
    propose(one, 0)
    propose(two, 0)
    finish(two, 0)
    assert one.rows()[0].state == RUNNING


def test_a_reader_of_a_study_that_is_not_there_writes_nothing(database, opened):
    written = opened(database, create=True)
    other = Database(database.url, "halosearch nobody")
    assert opened(other, create=False, read_only=True).rows() == []
    assert other.study not in [study.study_name for study in written._storage.get_all_studies()]


@needs_postgres
def test_a_second_driver_is_refused_and_a_killed_one_frees_the_study_at_once(server):
    code = (
        "import time; from halosearch.record.database import url_of; from halosearch.record.study_lock import StudyLock; "
        f"h=StudyLock(url_of({server.url!r}),'s'); print('held',flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process is running the study 's'"):
        StudyLock(url_of(server.url), "s")
    StudyLock(url_of(server.url), "another").release()
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            StudyLock(url_of(server.url), "s").release()
            break
        except StoreError:
            time.sleep(0.05)
    else:
        pytest.fail("the lock of a killed driver was not freed")


@pytest.mark.slow
@needs_postgres
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # SQLAlchemy drops broken connections unclosed
@pytest.mark.parametrize(
    "fault",
    [
        "stop",
        pytest.param("kill", marks=pytest.mark.slow),
        pytest.param("freeze", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_an_outage_in_the_middle_of_a_study_costs_time_only(fault, opened):
    with Server() as server:
        database = Database(server.url, "halosearch outage")
        store = opened(database, create=True)
        store._call.hang_s = 5.0
        holder = StudyLock(url_of(server.url), database.study)
        store.held_by(holder.renew, holder.cut)
        propose(store, 0)

        written, enough = [], threading.Event()

        def work():
            while not enough.is_set() or len(written) < 20:
                written.append(propose(store, len(written) + 1))
                finish(store, written[-1])

        thread = threading.Thread(target=work)  # the server ends with the thread that starts it, so this one is not it
        thread.start()
        while not written:
            time.sleep(0.01)
        if fault == "freeze":
            frozen = server.freeze()
            time.sleep(12)
            for process in frozen:
                process.resume()
        else:
            server.stop(signal.SIGINT if fault == "stop" else signal.SIGQUIT)
            time.sleep(3)
            server.start()
        enough.set()
        thread.join(120)
        assert not thread.is_alive()
        number = len(written) + 1
        assert written == list(range(1, number))
        read = opened(database, create=False, read_only=True).rows()
        assert [row.id for row in read] == list(range(number))
        assert [row.state for row in read] == [RUNNING] + [COMPLETE] * (number - 1)
        with pytest.raises(StoreError):
            StudyLock(url_of(server.url), database.study)
        holder.release()


def _write_some(arguments):
    database, process = arguments
    store = Table(database, create=True)
    for n in range(8):
        number = propose(store, 8 * process + n)
        finish(store, number, RESULT | {"by": process})
    store.close()


@needs_postgres
@pytest.mark.slow
def test_eight_processes_begin_and_write_one_study_at_the_same_time(opened):
    with Server() as server, multiprocessing.get_context("spawn").Pool(8) as pool:
        database = Database(server.url, "halosearch crowd")
        pool.map(_write_some, [(database, p) for p in range(8)], 1)
        read = opened(database, create=False, read_only=True).rows()
        assert {t.state for t in read} == {COMPLETE}
        assert [row.result["by"] for row in read] == [row.id // 8 for row in read]


def test_nobody_answers_is_said_with_a_way_out():
    with pytest.raises(EnvironmentFault, match="cannot be used") as caught:
        open_database(Database("postgresql://halo@127.0.0.1:9/none", "x"))
    assert "PGPASSWORD" in caught.value.hint


def test_patience_ends_with_a_sentence(tmp_path):
    storage, _ = open_database(Database(f"sqlite:///{tmp_path}/x.db", "x"))

    def fail():
        raise optuna.exceptions.StorageInternalError("odd words") from OSError("no route")

    with pytest.raises(EnvironmentFault, match="no route"):
        Patient(storage.engine, patience_s=0.3)(fail)
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is no address of a database"),
        ("nosuch://u@h/d", "is no address of a database"),
        ("mysql+mysqldb://u@h/d", "driver of mysql"),
    ],
)
def test_an_address_that_cannot_work_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        url_of(text)


def test_passwords_are_not_shown():
    assert shown("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert shown("sqlite:///x") == "sqlite:///x"


def test_sqlite_is_refused_on_network_file_systems_and_nowhere_else(tmp_path):
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        refuse_network_file(tmp_path / "x.db", lambda _: "nfs4")
    refuse_network_file(tmp_path / "x.db", lambda _: "ext4")
    assert file_system_of(Path("/proc/self")) == "proc"
    assert os.path.ismount("/proc")
