"""A study in a real PostgreSQL, and in SQLite: what is written is there once, whatever the server does meanwhile."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest

from benchmarks.distributed.postgres import Server, programs
from halosearch.errors import EnvironmentFault, StoreError, UsageError
from halosearch.record.database import (
    MARK,
    Database,
    Patient,
    file_system_of,
    open_database,
    refuse_network_file,
    shown,
    url_of,
)
from halosearch.record.store import COMPLETE, RUNNING, Store
from halosearch.record.study_lock import Holder
from tests.record.test_store import COSTS, DIALS, DISTRIBUTIONS, RESULT

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
        stores.append(Store(*words, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def propose(store, number):
    return store.propose(DIALS, COSTS, DISTRIBUTIONS, (number, 0, 0))


def test_what_is_written_is_read_back_by_another_reader(database, opened):
    store = opened(database, create=True)
    store.note("inputs", {"seed": 1})
    assert [propose(store, n) for n in range(3)] == [0, 1, 2]
    store.begin_run(0, 0)
    store.pause(0, {"score": 0.1})
    store.promote(0, (3, 1, 2))
    store.finish(0, COMPLETE, RESULT)
    read = opened(database, create=False, read_only=True)
    first, second, _ = read.trials()
    assert (first.state, second.state) == (COMPLETE, RUNNING)
    assert first.moves == ((0, 0, 0), (3, 1, 2))
    assert first.result == RESULT
    assert read.notes()["inputs"] == {"seed": 1}
    assert [t.number for t in read.trials()] == [0, 1, 2]


def test_a_trial_whose_insertion_was_answered_by_silence_is_there_once(database, opened):
    """Optuna repeats an insertion when the answer to its commit is lost."""
    store = opened(database, create=True)
    propose(store, 0)
    storage = store._storage
    backend = storage._backend if hasattr(storage, "_backend") else storage
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, params=DIALS, distributions=DISTRIBUTIONS, user_attrs={MARK: "move-1"}
    )
    study = store._study._study_id
    first = backend.create_new_trial(study, template_trial=trial)
    assert backend.create_new_trial(study, template_trial=trial) == first
    assert propose(store, 2) == 2
    assert len(opened(database, create=False, read_only=True).trials()) == 3


def test_studies_of_one_database_do_not_mix(database, opened):
    one, two = opened(database, create=True), opened(Database(database.url, database.study + "y"), create=True)
    propose(one, 0)
    assert propose(two, 0) == 0
    two.finish(0, COMPLETE, RESULT)
    assert one.trials()[0].state == RUNNING


def test_a_reader_of_a_study_that_is_not_there_writes_nothing(database, opened):
    written = opened(database, create=True)
    other = Database(database.url, "halosearch nobody")
    assert opened(other, create=False, read_only=True).trials() == []
    assert other.study not in [study.study_name for study in written._storage.get_all_studies()]


@needs_postgres
def test_a_second_driver_is_refused_and_a_killed_one_frees_the_study_at_once(server):
    code = (
        "import time; from halosearch.record.database import url_of; from halosearch.record.study_lock import Holder; "
        f"h=Holder(url_of({server.url!r}),'s'); print('held',flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process is running the study 's'"):
        Holder(url_of(server.url), "s")
    Holder(url_of(server.url), "another").release()
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            Holder(url_of(server.url), "s").release()
            break
        except StoreError:
            time.sleep(0.05)
    else:
        pytest.fail("the lock of a killed driver was not freed")


@needs_postgres
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # SQLAlchemy drops broken connections unclosed
@pytest.mark.parametrize(
    "fault", ["stop", pytest.param("kill", marks=pytest.mark.slow), pytest.param("freeze", marks=pytest.mark.slow)]
)
def test_an_outage_in_the_middle_of_a_study_costs_time_only(fault, opened):
    with Server() as server:
        database = Database(server.url, "halosearch outage")
        store = opened(database, create=True)
        store._call.hang_s = 5.0
        holder = Holder(url_of(server.url), database.study)
        store.held_by(holder.renew, holder.cut)
        propose(store, 0)

        written, enough = [], threading.Event()

        def work():
            while not enough.is_set() or len(written) < 20:
                written.append(propose(store, len(written) + 1))
                store.finish(written[-1], COMPLETE, RESULT)

        thread = threading.Thread(target=work)  # the server ends with the thread that starts it, so this one is not it
        thread.start()
        time.sleep(0.5)
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
        read = opened(database, create=False, read_only=True).trials()
        assert [t.moves[0][0] for t in read] == list(range(number))
        assert [t.state for t in read] == [RUNNING] + [COMPLETE] * (number - 1)
        with pytest.raises(StoreError):
            Holder(url_of(server.url), database.study)
        holder.release()


def _write_some(arguments):
    database, process = arguments
    store = Store(database, create=True)
    numbers = []
    for n in range(8):
        numbers.append(propose(store, 100 * process + n))
        store.finish(numbers[-1], COMPLETE, RESULT | {"by": process})
    store.close()
    return numbers


@needs_postgres
@pytest.mark.slow
def test_eight_processes_begin_and_write_one_study_at_the_same_time(opened):
    with Server() as server, multiprocessing.get_context("spawn").Pool(8) as pool:
        database = Database(server.url, "halosearch crowd")
        numbers = [n for each in pool.map(_write_some, [(database, p) for p in range(8)], 1) for n in each]
        assert sorted(numbers) == list(range(64))
        read = opened(database, create=False, read_only=True).trials()
        assert {t.state for t in read} == {COMPLETE}
        assert sorted(t.result["by"] for t in read) == sorted(list(range(8)) * 8)


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
