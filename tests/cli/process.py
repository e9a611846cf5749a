"""The command as a real process."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

from halosearch.cli.main import main

TINY = """
name: tiny
budget: {{params: 5000000, tolerance: 0.05}}
seed: 1
device: cpu
data: {data}
sampler: {sampler}
trials: {trials}
retests: {retests}
workers: 2
rivals: {rivals}
preset: {{name: custom, smallest: 48, largest: 48, width_multiplier: 0.125, rungs: {rungs}, batch: 16, learning_rate: 0.01, train_images: 64,
       test_images: 32, timing_batch: 2, timing_rounds: 2, timing_anchor: 32,
       eta: {eta}, uniform: {uniform}, finalists: {finalists}, final_seeds: 2}}
space: {{s: [48], l3: [1, 2, 3], rb: [0.5, 0.75, 1, 1.25]}}
"""


def halosearch(*words, cwd=None, check=None, env=None, timeout=300):
    done = subprocess.run(
        [sys.executable, "-m", "halosearch", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        timeout=timeout,
        check=False,
    )
    if check is not None:
        assert done.returncode == check, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    assert "Traceback" not in done.stderr
    return done


def here(*words, cwd, monkeypatch):
    """The command in this process: its parser, its errors and its exit code, without a second start of Python."""
    monkeypatch.chdir(cwd)
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def start(*words, cwd=None):
    return subprocess.Popen(
        [sys.executable, "-m", "halosearch", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def tiny(
    folder: Path,
    *,
    data="scenes-easy-2",
    trials=6,
    retests=0,
    images=64,
    sampler="tpe",
    rungs=None,
    eta=0,
    uniform=1,
    finalists=0,
    rivals="[]",
) -> Path:
    path = folder / "tiny.yaml"
    text = TINY.format(
        data=data,
        trials=trials,
        retests=retests,
        rungs=rungs or [images],
        sampler=sampler,
        eta=eta,
        uniform=uniform,
        finalists=finalists,
        rivals=rivals,
    )
    path.write_text(text)
    return path


def tiny_search(folder: Path) -> Path:
    """Everything that a default study does, small: even rows with retests, a search over two rungs, finals, a rival."""
    return tiny(
        folder,
        trials=8,
        retests=5,
        sampler="pool",
        rungs=[32, 64],
        eta=2,
        uniform=5,
        finalists=1,
        rivals="[efficientnet-b0]",
    )


def error_of(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "help:"))]
    assert lines, done.stderr
    assert lines[0].startswith("error: ")
    assert len(lines) == 2, lines
    return lines[0]
