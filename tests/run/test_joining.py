"""What a user is told where Ray cannot be started, and that it is a way out."""

import os
import signal
import subprocess
import sys

import pytest

from halosearch.run.engines import joining

LONG = "x" * 110


@pytest.mark.parametrize(
    ("home", "error", "blamed"),
    [
        ("/home/ann", PermissionError(13, "Permission denied", "/home/ann/.ray/auth_token"), True),
        ("/home/ann", PermissionError(13, "Permission denied", "/home/anna/.ray/auth_token"), False),
        ("/", PermissionError(13, "Permission denied", "/tmp/ray/session"), False),
        ("/home/ann", OSError(28, "No space left on device", "/home/ann/.ray/auth_token"), False),
    ],
)
def test_the_home_folder_is_blamed_for_what_it_did_only(home, error, blamed, monkeypatch):
    monkeypatch.setenv("HOME", home)
    assert ("token in the home folder" in joining._refusal(None, error).sentence) == blamed


def test_the_variable_that_ray_reads_first_is_named(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/a/long/one")
    refused = joining._refusal(None, OSError("AF_UNIX path length cannot exceed 107 bytes"))
    assert "/a/long/one" in refused.sentence
    assert refused.hint.endswith("RAY_TMPDIR=/tmp")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said", "way_out"),
    [
        pytest.param({"TMPDIR": LONG}, "too long for Ray's sockets", {"TMPDIR": "/tmp"}, marks=pytest.mark.long),
        pytest.param(
            {"HOME": "/proc/1/nohome"},
            "/proc/1/nohome cannot be written",
            {"RAY_AUTH_MODE": "disabled"},
            marks=pytest.mark.long,
        ),
    ],
    ids=["long temporary folder", "home that cannot be written"],
)
def test_where_ray_cannot_start_the_hint_is_a_way_out(tmp_path, changed, said, way_out):
    (tmp_path / LONG).mkdir()
    changed = {key: str(tmp_path / value) if value == LONG else value for key, value in changed.items()}
    line = ["study", "--budget-params", "20M", "--preset", "cpu-2m", "--ray", "--dir"]

    def begun(folder, **variables):
        return subprocess.Popen(
            [sys.executable, "-m", "halosearch", *line, str(tmp_path / folder)],
            env=os.environ | changed | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    refused = begun("refused")
    printed = refused.communicate()[1]
    assert refused.returncode == 4
    assert said in printed
    assert all(name in printed for name in way_out)
    going = begun("after", **way_out)
    assert any("event=start" in text for text in going.stderr)
    going.send_signal(signal.SIGINT)
    going.communicate()
    assert going.returncode == 130
