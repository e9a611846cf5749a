"""What the README shows is what the commands print."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from halosearch.run.begin import request, resolve
from tests.cli.process import halosearch

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_shown_command_prints_what_is_shown(command, shown, tmp_path):
    words = shlex.split(command)
    assert words[0] == "halosearch"
    done = halosearch(*words[1:], cwd=tmp_path)
    assert (done.stdout + done.stderr).rstrip() == shown.rstrip()


def test_three_commands_are_shown():
    assert len(BLOCKS) == 3


def test_the_two_lines_are_one_line_each():
    text = README.read_text(encoding="utf-8")
    for mark, end in (
        ("study line", "halosearch study --budget-params 20M"),
        ("test line", '.venv/bin/pytest -q -n 2 --dist loadfile -m "not slow"'),
    ):
        block = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)\n```\n<!-- end -->", text, re.DOTALL)
        assert block is not None
        assert "\n" not in block[1]
        assert block[1].startswith("python3 -m venv .venv && ")
        assert block[1].endswith(end)
        assert "-c constraints.txt" in block[1]


def test_the_study_file_that_is_shown_is_a_study(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1])["budget"]["params"] == 8_000_000
    (tmp_path / "my.yaml").write_text(block[1])
    spec, _, _ = resolve(request(str(tmp_path / "my.yaml"), tmp_path), lambda _: "cpu")
    assert spec.preset.rungs == (4096,)
    assert spec.space["conv_stages"] == [0, 1]


def test_constraints_are_plain_pins_without_hosts():
    lines = [line for line in (README.parent / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!]+", line) for line in lines)
    assert "torch==2.13.0" in lines


def test_the_sampler_example_runs():
    block = re.search(r"<!-- sampler example -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert len(block[1].strip().splitlines()) <= 10 + 1  # ten lines and a blank one
    seen = {}
    exec(block[1], seen)
    assert len({seen["sampler"].row(trial) for trial in seen["study"].trials}) == 12
