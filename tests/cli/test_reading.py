"""Commands that read a study: quick, without torch, and without writing anything."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import error_of, here

EXAMPLE = Path(__file__).parents[2] / "studies" / "example-20M"
FORMAT3 = Path(__file__).parents[1] / "record" / "format3"
"""A study begun before dense targets: labels only, every trial timed with its training, one in three going on."""
FORMAT2 = Path(__file__).parents[1] / "record" / "format2"


@pytest.fixture
def locked(tmp_path):
    """A study on a file system that nobody can write to."""
    folder = tmp_path / "ro"
    folder.mkdir()
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a file system is not allowed here")
    shutil.copytree(EXAMPLE, folder / "studies" / "x")
    (folder / "studies" / "x" / "driver.lock").write_text("")
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555)
    yield folder
    if os.geteuid() == 0:
        subprocess.run(["umount", "-l", str(folder)], check=False)
    else:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


@pytest.mark.slow
def test_a_study_that_cannot_be_written_can_be_read_and_its_report_goes_elsewhere(locked, tmp_path, monkeypatch):
    study = locked / "studies" / "x"
    for words in (("status", study), ("frontier", study), ("export", study)):
        assert here(*words, cwd=tmp_path, monkeypatch=monkeypatch).returncode == 0
    refused = here("report", study, cwd=tmp_path, monkeypatch=monkeypatch)
    assert (refused.returncode, "cannot write" in error_of(refused)) == (4, True)
    done = here("report", study, "--dir", tmp_path / "elsewhere", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 0
    assert (tmp_path / "elsewhere" / "reports" / "x" / "index.html").exists()
    assert error_of(here("study", study, cwd=tmp_path, monkeypatch=monkeypatch))


@pytest.mark.slow
def test_reading_a_study_imports_no_torch():
    study = str(EXAMPLE)
    lines = [
        ["status", study], ["frontier", study], ["export", study], ["show", "h4"], ["cost", "h4"],
        ["space", "--budget-params", "20M", "--tolerance", "1%"], ["predict", study, "h0"],
    ]  # fmt: skip
    code = (
        "import json, sys\nfrom halosearch.cli.main import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    try:\n        main(words)\n    except SystemExit as end:\n        assert not end.code or words[0] == 'predict', words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


def assert_no_less(found, said):
    """The rows say what they said; a later version may say more."""
    assert [{key: one[key] for key in other} for one, other in zip(found, said, strict=True)] == said


def test_a_record_of_format_2_says_what_the_version_that_wrote_it_said_and_is_not_continued(tmp_path, monkeypatch):
    shutil.copytree(FORMAT2, tmp_path / "studies" / "old")
    said = json.loads((FORMAT2 / "said_by_the_version_before.json").read_text())
    run = lambda *words: here(*words, cwd=tmp_path, monkeypatch=monkeypatch)  # noqa: E731
    found = json.loads(run("report", "old", "--json").stdout)["summary"]
    for key in ("counts", "front", "decisions", "agreement"):
        assert found[key] == said[key], key
    assert_no_less(found["finals"], said["finals"])
    assert found["validation"]["noise"] == said["noise"]
    assert found["validation"]["rates"] == said["rates"]
    for one, other in zip(found["trials"], said["trials"], strict=True):
        assert {key: one[key] for key in other} == pytest.approx(other)
    assert json.loads(run("status", "old", "--json").stdout)["counts"] == said["counts"]
    assert run("export", "old").returncode == run("frontier", "old").returncode == 0
    refused = run("study", "old")
    assert refused.returncode == 6
    assert "format 2, which this version only reads" in error_of(refused)


def test_a_record_begun_before_dense_targets_says_what_it_said(tmp_path, monkeypatch):
    shutil.copytree(FORMAT3, tmp_path / "studies" / "x")
    said = json.loads((FORMAT3 / "said_by_the_version_before.json").read_text())
    found = json.loads(here("report", "x", "--json", cwd=tmp_path, monkeypatch=monkeypatch).stdout)["summary"]
    for key in ("counts", "front", "decisions", "agreement"):
        assert found[key] == said[key], key
    assert_no_less(found["finals"], said["finals"])
    assert found["validation"]["noise"] == said["noise"]
    for one, other in zip(found["trials"], said["trials"], strict=True):
        assert {key: one[key] for key in other} == pytest.approx(other)


def test_steps_are_predicted_from_what_a_study_has_timed(tmp_path, monkeypatch):
    shutil.copytree(FORMAT3, tmp_path / "studies" / "x")
    said = json.loads((FORMAT3 / "said_by_the_version_before.json").read_text())["trials"]
    done = here("predict", "x", "x#1", "--json", cwd=tmp_path, monkeypatch=monkeypatch)
    found = json.loads(done.stdout)["candidates"][0]
    assert found["predicted_step_time_low_s"] < found["predicted_step_time_s"] < found["predicted_step_time_high_s"]
    assert 0.5 < found["predicted_step_time_s"] / said[1]["step_time_s"] < 2


@pytest.mark.slow
def test_steps_of_the_whole_pool_are_predicted_and_written(tmp_path, monkeypatch):
    import pandas as pd

    shutil.copytree(FORMAT3, tmp_path / "studies" / "x")
    assert here("predict", "x", "--output", "pool.csv", cwd=tmp_path, monkeypatch=monkeypatch).returncode == 0
    rows = pd.read_csv(tmp_path / "pool.csv")
    assert len(rows) == 437_807
    assert (rows["predicted_step_time_low_s"] < rows["predicted_step_time_high_s"]).all()


def test_status_takes_less_than_two_seconds_of_a_processor():
    """Processor time, not the wall's, and the least of three starts: other load does not count."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'halosearch', 'status', sys.argv[1]], check=True, capture_output=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    spent = [float(subprocess.check_output([sys.executable, "-c", code, str(EXAMPLE)])) for _ in range(3)]
    assert min(spent) < 2.0
