import json
import warnings

import optuna
import pytest
from filelock import FileLock

from halosearch.errors import StoreError, VersionError
from halosearch.files import write_text
from halosearch.record.backup import backup_of
from halosearch.record.journal import hold_study, mend
from halosearch.record.store import COMPLETE, FAILED, INFEASIBLE, PRUNED, RUNNING, Store, table, to_json

DISTRIBUTIONS = {
    "s": optuna.distributions.IntDistribution(48, 128),
    "heads": optuna.distributions.CategoricalDistribution(["published", "width"]),
}
DIALS = {"s": 64, "heads": "width"}
COSTS = {"params": 5, "macs": 7}
RESULT = {"score": 0.25, "step_time_s": 0.5}


def filled(path):
    store = Store(path, create=True)
    for state in (COMPLETE, FAILED, INFEASIBLE, RUNNING):
        number = store.propose(DIALS, COSTS, DISTRIBUTIONS, (store.count(), 0, 0))
        store.begin_run(number, 0)
        if state != RUNNING:
            store.finish(number, state, RESULT if state == COMPLETE else {}, "" if state == COMPLETE else "why")
    return store


def test_what_is_written_is_read_back(tmp_path):
    filled(tmp_path / "j")
    trials = Store(tmp_path / "j", create=False).trials()
    assert [t.state for t in trials] == [COMPLETE, FAILED, INFEASIBLE, RUNNING]
    assert trials[0].dials == DIALS
    assert trials[0].costs == COSTS
    assert trials[0].result == RESULT
    assert trials[1].reason == "why"
    assert [t.runs for t in trials] == [1, 1, 1, 1]
    assert list(table(trials)["score"])[0] == 0.25


def test_any_optuna_tool_reads_the_same_study(tmp_path):
    filled(tmp_path / "j")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "j")))
    study = optuna.load_study(study_name="halosearch", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "FAIL", "RUNNING"]
    assert study.trials[0].values == [0.25, 0.5]


def test_a_journal_cut_at_any_byte_opens_and_goes_on(tmp_path):
    filled(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in [*range(first, len(whole), 97), len(whole) - 1]:
        path = tmp_path / f"cut{cut}"
        path.write_bytes(whole[:cut])
        kept = whole[:cut].rfind(b"\n") + 1
        store = Store(path, create=False)
        assert store.cut_bytes == cut - kept
        store.finish_interrupted()
        before = len(store.trials())
        assert store.propose(DIALS, COSTS, DISTRIBUTIONS, (9, 0, 0)) == before
        assert len(Store(path, create=False).trials()) == before + 1


def test_a_result_written_before_a_crash_closes_its_trial(tmp_path):
    filled(tmp_path / "j")
    lines = (tmp_path / "j").read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if '"end"' in line]
    (tmp_path / "j").write_text("".join(lines[: ends[0] + 1]))
    store = Store(tmp_path / "j", create=False)
    assert store.trials()[0].state == RUNNING
    store.finish_interrupted()
    assert store.trials()[0].state == COMPLETE
    assert store.trials()[0].result == RESULT


def test_damage_inside_the_journal_is_refused_by_line(tmp_path):
    filled(tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().split(b"\n")
    lines[2] = lines[2][:10]
    damaged = b"\n".join(lines)
    (tmp_path / "j").write_bytes(damaged)
    backup_of(tmp_path / "j").unlink()
    with pytest.raises(StoreError, match="line 3") as caught:
        Store(tmp_path / "j", create=False)
    assert caught.value.exit_code == 5
    assert (tmp_path / "j").read_bytes() == damaged


def test_a_missing_store_and_another_version_are_refused(tmp_path):
    with pytest.raises(StoreError, match="missing"):
        Store(tmp_path / "none", create=False)
    store = filled(tmp_path / "j")
    store._study.set_user_attr("format", 99)
    with pytest.raises(VersionError, match="format 99") as caught:
        Store(tmp_path / "j", create=False)
    assert caught.value.exit_code == 6


def test_a_second_driver_is_refused_and_a_released_study_is_free(tmp_path):
    lock = hold_study(tmp_path / "s")
    with pytest.raises(StoreError, match="another process") as caught:
        hold_study(tmp_path / "s")
    assert caught.value.exit_code == 5
    lock.release()
    hold_study(tmp_path / "s").release()
    assert isinstance(lock, FileLock)


def test_mending_leaves_whole_journals_alone(tmp_path):
    filled(tmp_path / "j")
    before = (tmp_path / "j").read_bytes()
    assert mend(tmp_path / "j") == 0
    assert (tmp_path / "j").read_bytes() == before
    assert mend(tmp_path / "absent") == 0


def test_a_file_that_cannot_be_written_whole_keeps_its_old_text(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_json_is_strict_and_stable():
    assert to_json({"b": 1, "a": 2}) == to_json({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"a": float("nan")})
    assert json.loads(to_json({"a": "é"})) == {"a": "é"}


def test_a_reader_writes_nothing_even_beside_a_torn_line(tmp_path):
    filled(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    for cut in (len(whole), len(whole) - 1, len(whole) - 30):
        (tmp_path / "j").write_bytes(whole[:cut])
        assert len(Store(tmp_path / "j", create=False, read_only=True).trials()) == 4
        assert (tmp_path / "j").read_bytes() == whole[:cut]
        assert len(Store(tmp_path / "j", create=False).trials()) == 4


def test_a_reader_of_a_journal_in_which_no_study_was_begun_finds_no_trials(tmp_path):
    (tmp_path / "j").write_bytes(b"")
    assert Store(tmp_path / "j", create=False, read_only=True).trials() == []
    assert (tmp_path / "j").read_bytes() == b""


def test_a_trial_pauses_goes_on_and_is_pruned_with_what_it_came_to(tmp_path):
    store = Store(tmp_path / "j", create=True)
    for number in range(2):
        store.propose(DIALS, COSTS, DISTRIBUTIONS, (number, 0, 0))
        store.begin_run(number, 0)
        store.pause(number, RESULT)
    store.promote(0, (2, 1, 2))
    store.begin_run(0, 1)
    store.begin_run(0, 1)
    store.finish(0, COMPLETE, RESULT | {"score": 0.5})
    assert Store(tmp_path / "j", create=False, read_only=True).trials()[1].state == RUNNING
    store.prune(1, "stopped")
    first, second = Store(tmp_path / "j", create=False).trials()
    assert (first.state, first.moves, first.runs, first.result["score"]) == (COMPLETE, ((0, 0, 0), (2, 1, 2)), 2, 0.5)
    assert (second.state, second.reason, second.result, second.runs) == (PRUNED, "stopped", RESULT, 1)


def test_a_trial_that_fails_on_its_way_to_a_higher_rung_keeps_what_it_had(tmp_path):
    store = Store(tmp_path / "j", create=True)
    store.propose(DIALS, COSTS, DISTRIBUTIONS, (0, 0, 0))
    store.pause(0, RESULT | {"scores": [{"score": 0.25}]})
    store.promote(0, (1, 1, 1))
    store.finish(0, FAILED, {"seconds": 3.0}, "NaN")
    [trial] = Store(tmp_path / "j", create=False).trials()
    assert (trial.state, trial.result["scores"], trial.result["seconds"]) == (FAILED, [{"score": 0.25}], 3.0)


def test_a_lock_that_the_dashboard_left_is_waited_for_and_a_dead_one_taken_away(tmp_path, monkeypatch):
    """Optuna's own lock is a link to the journal in the place of our lock file."""
    import threading
    import time

    from halosearch.record import journal
    from halosearch.record.journal import ProcessLock

    path = tmp_path / "trials.journal"
    path.write_bytes(b'{"a": 1}\n')
    link = tmp_path / "trials.journal.lock"
    link.symlink_to(path)
    threading.Timer(0.4, link.unlink).start()
    lock, began = ProcessLock(path), time.monotonic()
    assert lock.acquire()
    assert 0.3 < time.monotonic() - began < 10
    lock.release()
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    monkeypatch.setattr(journal, "DEAD_LINK_S", 0.2)
    assert lock.acquire()
    lock.release()
    assert path.read_bytes() == b'{"a": 1}\n'


def test_objectives_have_names_for_the_dashboard(tmp_path):
    import optuna

    from halosearch.record.journal import open_storage

    path = tmp_path / "trials.journal"
    Store(path, create=True)
    Store(path, create=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = optuna.load_study(study_name="halosearch", storage=open_storage(path)).metric_names
    assert names == ["score", "step_time_s"]
    assert path.read_bytes().count(b"study:metric_names") <= 1
