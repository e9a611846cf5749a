"""What a reader sees in a real terminal, at three widths, with and without colour."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from halosearch.cli.tally import HEIGHT, Tally
from tests.cli.process import tiny
from tests.cli.terminal import Terminal

ROOT = Path(__file__).parent.parent.parent
PLAY = """
import sys, time
from halosearch.cli.progress import Panel
from halosearch.cli.tally import Tally
from tests.cli.test_progress import play
panel = Panel(Tally(40), "study 20M: " + "x" * 150, "report " + "y" * 150)
play(panel)
time.sleep(1.2)
panel.close()
print("the answer")
"""


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_panel_keeps_its_height_and_its_width_and_leaves_the_screen(columns):
    terminal = Terminal(["-c", PLAY], columns, env={"NO_COLOR": "1"})
    try:
        assert terminal.wait() == 0
    finally:
        terminal.close()
    whole = ("best: ", "report ")  # and not one that is being taken away
    seen = [screen for screen in terminal.screens if all(any(line.startswith(w) for line in screen) for w in whole)]
    assert seen
    last = seen[-1]
    first = next(n for n, line in enumerate(last) if line.startswith("study 20M"))
    panel = last[first : first + HEIGHT]
    assert len(panel) == HEIGHT <= 22
    assert panel[-1].startswith("report ")
    assert panel[-1].endswith("…")  # cut, not wrapped
    assert re.match(r"\[#+\.*\] \d+/40 ", panel[1])
    assert any(line.startswith("hypervolume: ▁") or "▂" in line for line in panel)
    assert "the answer" in terminal.text
    assert "best: " not in terminal.text  # the panel has gone
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]m", terminal.raw)  # NO_COLOR


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("done", [0, 3, 500])
def test_a_panel_has_the_same_number_of_lines_whatever_happened(width, done):
    tally = Tally(40, done=done)
    tally.points = [(0.1 + 0.001 * n, 1.0 - 0.001 * n) for n in range(done)]
    tally.running = {f"trial-{n}": (time.monotonic(), 0.5) for n in range(done)}
    for plain in (False, True):
        lines = tally.lines("t" * 300, "w" * 300, width, plain=plain)
        assert len(lines) == HEIGHT
        assert max(map(len, lines)) <= width
        assert not plain or all(line.isascii() for line in lines)


def test_watching_a_study_that_nobody_runs_ends_at_once_with_what_was_done(tmp_path):
    shutil.copytree(ROOT / "studies" / "example-20M", tmp_path / "studies" / "example-20M")
    terminal = Terminal(["-m", "halosearch", "status", "example-20M", "--watch"], 80, cwd=tmp_path)
    try:
        assert terminal.wait() == 0
    finally:
        terminal.close()
    assert "nobody runs study" in terminal.text
    assert "next: halosearch report" in terminal.text


@pytest.mark.slow
@pytest.mark.long
def test_a_study_in_a_terminal_is_watched_from_another_and_stopped_by_a_key(tmp_path):
    tiny(tmp_path, trials=60)
    study = Terminal(["-m", "halosearch", "study", "tiny.yaml"], 80, cwd=tmp_path)
    watch = None
    try:
        until = time.monotonic() + 90
        while "complete" not in study.text and time.monotonic() < until:
            assert study.read(1.0), study.text
        watch = Terminal(["-m", "halosearch", "status", "tiny", "--watch"], 100, cwd=tmp_path)
        until = time.monotonic() + 60
        while "best: 0" not in watch.text and "best: -" not in watch.text and time.monotonic() < until:
            assert watch.read(1.0), watch.text
            study.read(0.1)
        assert "watched" in watch.text
        os.write(study.master, b"\x03")  # the key, through the terminal's line discipline
        assert study.wait(90) == 128 + signal.SIGINT
        assert "Continue with:" in study.text
        assert "halosearch study tiny" in study.text
        assert watch.wait(60) == 0
        assert "nobody runs study tiny now" in watch.text
    finally:
        study.close()
        if watch is not None:
            watch.close()
