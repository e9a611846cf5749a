"""What a file, a stream or the system does is a sentence and an exit code, and never replaces what is no file."""

import errno
import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from halosearch.cli import ending
from halosearch.files import write_bytes

COMMAND = f"{shlex.quote(sys.executable)} -m halosearch"
STUDY = Path(__file__).parents[2] / "studies" / "example-20M"


def shell(line, **options):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_as_if_it_went_nowhere(closed, tmp_path):
    done = shell(f"{COMMAND} export {STUDY} --format csv --output {tmp_path / 'table.csv'} {closed}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.csv").read_text().startswith("trial")
    assert shell(f"{COMMAND} show h1 {closed}").returncode == 0


@pytest.mark.slow
def test_a_full_device_and_a_reader_that_leaves(tmp_path):
    full = shell(f"{COMMAND} show h1 > /dev/full")
    assert (full.returncode, "disk is full" in full.stderr) == (4, True)
    left = shell(f"set -o pipefail; {COMMAND} export {STUDY} --format json | head -c 5")
    assert (left.returncode, left.stderr) == (0, "")


def test_a_folder_named_as_output_is_a_sentence(tmp_path):
    done = shell(f"{COMMAND} export {STUDY} --output {tmp_path}")
    assert (done.returncode, f"{tmp_path} is a folder" in done.stderr) == (4, True)


@pytest.mark.slow
def test_what_is_no_file_is_written_to_and_a_link_is_followed(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join()
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_bytes(Path("/dev/null"), b"nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    (tmp_path / "deep").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "deep" / "target")  # which is not there yet
    for content in (b"one", b"two"):
        write_bytes(link, content)
        assert link.is_symlink()
        assert (tmp_path / "deep" / "target").read_bytes() == content
    done = shell(
        f"{COMMAND} export {STUDY} --format csv --output >(head -c 5 > {tmp_path / 'head'}; cat > /dev/null); wait"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "head").read_text() == "trial"


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EIO, errno.ESTALE, errno.ENOTDIR, errno.EMFILE, errno.ENAMETOOLONG, errno.EROFS]
)
def test_no_error_of_the_system_is_called_a_bug(number, capsys):
    def app(**_):
        raise OSError(number, os.strerror(number), "/mnt/some/file")

    with pytest.raises(SystemExit) as ended:
        ending.run_app(app, ["show"])
    said = capsys.readouterr().err
    assert ended.value.code == 4
    assert "/mnt/some/file" in said
    assert "is a bug" not in said
