import json
import warnings
from dataclasses import replace

import optuna
import pytest
from filelock import FileLock

from halosearch.errors import StoreError, VersionError
from halosearch.files import write_text
from halosearch.record import journal
from halosearch.record.backup import backup_of
from halosearch.record.evaluation import (
    ANCHOR,
    COMPLETE,
    FAILED,
    HELD_OUT,
    INFEASIBLE,
    PRUNED,
    RATE,
    REFERENCE,
    RETEST,
    RUNNING,
    TRIAL,
    Evaluation,
)
from halosearch.record.journal import ProcessLock, hold_study, mend, open_storage
from halosearch.record.table import OBJECTIVES, Table
from halosearch.record.trials import table as as_frame
from halosearch.record.trials import to_json, trials_of

DISTRIBUTIONS = {
    "s": optuna.distributions.IntDistribution(48, 128),
    "heads": optuna.distributions.CategoricalDistribution(["published", "width"]),
}
DIALS = {"s": 64, "heads": "width"}
COSTS = {"params": 5, "macs": 7}
RESULT = {"score": 0.25, "step_time_s": 0.5, "scores": [{"score": 0.25}]}
DECIDED = [
    Evaluation(0, ANCHOR, {}),
    Evaluation(1, REFERENCE, DIALS, seed=3),
    Evaluation(2, TRIAL, DIALS, COSTS, 3, 0, 0),
    Evaluation(3, TRIAL, DIALS, COSTS, 3, 1, 0),
    Evaluation(4, RETEST, DIALS, COSTS, 1000003, 0, repeat=2),
    Evaluation(5, TRIAL, DIALS, COSTS, 3, 0, 1, after=2, known=2),
    Evaluation(6, RATE, DIALS, COSTS, 3, 0, rate=0.5),
    Evaluation(7, HELD_OUT, DIALS, COSTS, 7, 0),
    Evaluation(8, TRIAL, DIALS, COSTS, 3, 2, 0),
]
ENDS = {
    0: (COMPLETE, {"seconds": {"median": 0.5}}, ""),
    1: (COMPLETE, RESULT, ""),
    2: (PRUNED, RESULT, "stopped after 100 images"),
    3: (FAILED, {}, "NaN"),
    4: (COMPLETE, RESULT, ""),
    5: (COMPLETE, RESULT | {"score": 0.5}, ""),
    6: (INFEASIBLE, {}, "out of memory"),
    7: (COMPLETE, RESULT, ""),
}
ROWS = [
    replace(row, state=ENDS[row.id][0], result=ENDS[row.id][1], reason=ENDS[row.id][2], runs=1 + row.id % 2)
    if row.id in ENDS
    else row
    for row in DECIDED
]


def filled(path):
    table = Table(path, create=True)
    for row, done in zip(DECIDED, ROWS, strict=True):
        table.append(row, DISTRIBUTIONS)
        if done != row:
            table.end(done)
    return table


def test_what_is_written_is_read_back(tmp_path):
    assert filled(tmp_path / "j").rows() == ROWS
    assert Table(tmp_path / "j", create=False).rows() == ROWS
    first, second, third = trials_of(ROWS)
    assert (first.state, first.result["score"], first.moves) == (COMPLETE, 0.5, ((0, 0, 0), (2, 1, 2)))
    assert (second.state, second.reason) == (FAILED, "NaN")
    assert (third.state, third.runs) == (RUNNING, 0)
    assert list(as_frame([first, second])["score"])[0] == 0.5


def test_a_row_takes_one_write_to_decide_and_its_end_is_one_write_too(tmp_path):
    """Optuna's own state follows in a second line; what the table says does not hang on it."""
    table = Table(tmp_path / "j", create=True)
    for row in DECIDED[:3]:
        table.append(row, DISTRIBUTIONS)
    lines = lambda: (tmp_path / "j").read_bytes().count(b"\n")  # noqa: E731
    before = lines()
    table.append(DECIDED[3], DISTRIBUTIONS)
    assert lines() == before + 1
    table.end(ROWS[3])
    assert lines() == before + 3
    whole = (tmp_path / "j").read_text().splitlines(keepends=True)
    (tmp_path / "k").write_text("".join(whole[:-1]))
    assert Table(tmp_path / "k", create=False, read_only=True).rows()[3] == ROWS[3]


def test_no_study_attribute_holds_a_result(tmp_path):
    assert set(filled(tmp_path / "j").facts()) == {"format"}


def test_any_optuna_tool_reads_the_same_studies_one_for_each_kind(tmp_path):
    filled(tmp_path / "j")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "j")))
    names = sorted(study.study_name for study in optuna.get_all_study_summaries(storage))
    assert names == [
        "halosearch",
        "halosearch: anchor's step time",
        "halosearch: held-out images",
        "halosearch: learning rates",
        "halosearch: reference model",
        "halosearch: retests",
    ]
    study = optuna.load_study(study_name="halosearch", storage=storage)
    assert [t.state.name for t in study.trials] == ["PRUNED", "FAIL", "COMPLETE", "RUNNING"]
    assert study.trials[2].values == [0.5, 7.0]  # score, MACs
    retests = optuna.load_study(study_name="halosearch: retests", storage=storage)
    assert retests.trials[0].values == [0.25]
    assert retests.trials[0].user_attrs["repeat"] == 2


def test_a_journal_cut_at_any_byte_opens_and_goes_on(tmp_path):
    filled(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in [*range(first, len(whole), 211), len(whole) - 1]:
        path = tmp_path / f"cut{cut}"
        path.write_bytes(whole[:cut])
        kept = whole[:cut].rfind(b"\n") + 1
        table = Table(path, create=False)
        assert table.cut_bytes == cut - kept
        table.catch_up()
        rows = table.rows()
        assert [replace(row, state=RUNNING, result={}, reason="", runs=0) for row in rows] == DECIDED[: len(rows)]
        following = Evaluation(len(rows), TRIAL, DIALS, COSTS, 3, 9, 0)
        table.append(following, DISTRIBUTIONS)
        assert Table(path, create=False).rows() == [*rows, following]


def test_an_end_written_before_a_crash_counts_and_optuna_catches_up(tmp_path):
    filled(tmp_path / "j")
    lines = (tmp_path / "j").read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if '"end"' in line]
    (tmp_path / "j").write_text("".join(lines[: ends[2] + 1]))
    table = Table(tmp_path / "j", create=False)
    assert table.rows()[2] == ROWS[2]
    assert table._study(TRIAL).trials[0].state.name == "RUNNING"
    table.catch_up()
    assert table._study(TRIAL).trials[0].state.name == "PRUNED"
    assert table.rows()[2] == ROWS[2]


def test_a_row_that_is_missing_is_said(tmp_path):
    table = Table(tmp_path / "j", create=True)
    table.append(DECIDED[2], DISTRIBUTIONS)
    with pytest.raises(StoreError, match="missing"):
        table.rows()


def test_damage_inside_the_journal_is_refused_by_line(tmp_path):
    filled(tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().split(b"\n")
    lines[2] = lines[2][:10]
    damaged = b"\n".join(lines)
    (tmp_path / "j").write_bytes(damaged)
    backup_of(tmp_path / "j").unlink()
    with pytest.raises(StoreError, match="line 3") as caught:
        Table(tmp_path / "j", create=False)
    assert caught.value.exit_code == 5
    assert (tmp_path / "j").read_bytes() == damaged


def test_a_missing_store_and_another_version_are_refused(tmp_path):
    with pytest.raises(StoreError, match="missing"):
        Table(tmp_path / "none", create=False)
    filled(tmp_path / "j").set_fact("format", 99)
    with pytest.raises(VersionError, match="format 99") as caught:
        Table(tmp_path / "j", create=False)
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
        assert len(Table(tmp_path / "j", create=False, read_only=True).rows()) == 8 + (cut == len(whole))
        assert (tmp_path / "j").read_bytes() == whole[:cut]
        assert len(Table(tmp_path / "j", create=False).rows()) == 8 + (cut == len(whole))


def test_a_reader_of_a_journal_in_which_no_study_was_begun_finds_no_trials(tmp_path):
    (tmp_path / "j").write_bytes(b"")
    assert Table(tmp_path / "j", create=False, read_only=True).rows() == []
    assert (tmp_path / "j").read_bytes() == b""


def test_a_trial_that_fails_on_its_way_to_a_higher_rung_keeps_what_it_had():
    rows = [
        replace(DECIDED[2], state=PRUNED, result=RESULT | {"seconds": 5.0, "train_seconds": 4.0}, runs=2),
        replace(DECIDED[5], state=FAILED, result={"seconds": 3.0}, reason="NaN", runs=1),
    ]
    [trial] = trials_of(rows)
    assert (trial.state, trial.reason, trial.runs) == (FAILED, "NaN", 2)
    assert (trial.result["scores"], trial.result["seconds"]) == ([{"score": 0.25}], 4.0)


def test_a_lock_that_the_dashboard_left_is_waited_for_and_a_dead_one_taken_away(tmp_path, monkeypatch):
    """Optuna's own lock is a link to the journal in the place of our lock file."""
    path = tmp_path / "trials.journal"
    path.write_bytes(b'{"a": 1}\n')
    link, waits = tmp_path / "trials.journal.lock", []
    link.symlink_to(path)

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            link.unlink()

    monkeypatch.setattr(journal.time, "sleep", wait)
    lock = ProcessLock(path)
    assert lock.acquire()
    assert len(waits) == 3
    lock.release()
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    monkeypatch.setattr(journal, "DEAD_LINK_S", 0.0)
    assert lock.acquire()
    lock.release()
    assert path.read_bytes() == b'{"a": 1}\n'


def test_objectives_have_names_for_the_dashboard(tmp_path):
    path = tmp_path / "trials.journal"
    Table(path, create=True)
    Table(path, create=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = optuna.load_study(study_name="halosearch", storage=open_storage(path)).metric_names
    assert names == ["score", "macs"]
    assert path.read_bytes().count(b"study:metric_names") <= 1


def test_a_reader_beside_a_driver_reads_again_where_one_kind_was_newer_than_another(tmp_path):
    writer = Table(tmp_path / "j", create=True)
    writer.append(DECIDED[0], DISTRIBUTIONS)
    reader = Table(tmp_path / "j", create=False, read_only=True)
    read, late = reader._study, [replace(DECIDED[2], id=1), replace(DECIDED[4], id=2)]

    def between(kind):
        """A trial and a retest are decided after the trials were read and before the retests are."""
        while kind == RETEST and late:
            writer.append(late.pop(0), DISTRIBUTIONS)
        return read(kind)

    writer.append(replace(DECIDED[4], id=3), DISTRIBUTIONS)
    reader._study = between
    assert [row.id for row in reader.rows()] == [0, 1, 2, 3]
    assert not late


def test_a_record_that_was_begun_with_step_times_as_its_objective_goes_on_with_them(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setitem(OBJECTIVES, TRIAL, {"score": "maximize", "step_time_s": "minimize"})
        Table(tmp_path / "j", create=True)
    filled(tmp_path / "j")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "j")))
    study = optuna.load_study(study_name="halosearch", storage=storage)
    assert study.metric_names == ["score", "step_time_s"]
    assert study.trials[2].values == [0.5, 0.5]
