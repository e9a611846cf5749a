"""What a person sees while a study runs."""

import io
import re

import pytest
from rich.console import Console

from halosearch.cli.progress import Lines, Panel
from halosearch.cli.tally import Tally
from halosearch.record.evaluation import RETEST, TRIAL, Evaluation

DIALS = {
    "image_size": 64,
    "block_size": 8,
    "halo_size": 2,
    "value_ratio": 1.0,
    "expansion_ratio": 3.0,
    "stage3_depth": 12,
    "final_width": 0,
    "heads": "published",
    "conv_stages": 0,
}


def play(watcher, trials=30):
    for n in range(trials):
        row = Evaluation(n, TRIAL, DIALS, {"macs": 10**8 * (5 + n)}, trial=n)
        watcher.event("start", row, {"run": 1})
        watcher.event("progress", row, {"images": 10, "total": 20, "loss": 1.0})
        if n % 7 == 3:
            watcher.event("end", row, {"state": "failed", "reason": "loss is nan at step 3"})
        elif n < trials - 10:
            watcher.event(
                "end", row, {"state": "complete", "score": n / 100, "step_time_s": 0.5 + n / 10, "reason": ""}
            )
    watcher.event("start", Evaluation(trials, RETEST, DIALS, trial=0), {"run": 2})


def test_lines_are_key_value_with_the_time_first_and_without_ansi(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = []
    lines = Lines(Tally(40), out.append)
    play(lines)
    lines.close()
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:+]+ event=\w+ row=[\w-]+ done=\d+/40 text=", line) for line in out)
    assert not any("\x1b" in line for line in out)
    assert any("failed: loss is nan" in line for line in out)
    assert any("(run 2)" in line for line in out)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_panel_fits_22_rows_and_the_width(width):
    panel = Panel(Tally(40), "study 20M: " + "x" * 90, "log " + "y" * 90)
    play(panel)
    panel.close()
    console = panel._console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(panel._draw())
    rows = console.file.getvalue().splitlines()
    assert len(rows) <= 22
    assert max(map(len, rows)) <= width
    text = "\n".join(rows)
    assert "best: 0.19" in text
    assert "front: " in text
    assert "more" in text


def test_more_rows_than_forecast_move_the_goal_not_the_count_beyond_it():
    tally = Tally(2, done=2)
    assert tally.expected == 2
    tally.running = {"time-0": (0.0, 0.0), "time-1": (0.0, 0.0)}
    assert tally.expected == 4
    tally.running, tally.done = {}, 4
    assert tally.expected == 4
