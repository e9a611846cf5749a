"""Bridges that processes build by name: they behave and misbehave as Ray does, without Ray."""

import os
import time
from pathlib import Path

from halosearch.run.engines.ray_client import (
    CAPACITY,
    CHECKPOINT,
    CLOSE,
    FAULT,
    LOG,
    NEWS,
    NOTE,
    STOP,
    SUBMIT,
)
from halosearch.run.protocol import DONE, PROGRESS, STOPPED, Event


def remember(plan, text):
    with (Path(plan.folder) / "heard").open("a") as file:
        file.write(text + "\n")


def obedient(pipe, plan):
    """Answers every row with what it was given, at once, twice."""
    pipe.send((CAPACITY, 7))
    while True:
        kind, *rest = pipe.recv()
        if kind == CLOSE:
            remember(plan, "close")
            return
        if kind == STOP:
            remember(plan, "stop")
        if kind == SUBMIT:
            row, checkpoint = rest
            if row.candidate.get("do") == "wait":
                continue
            pipe.send((NEWS, Event(PROGRESS, row, {"images": 1, "total": 2, "loss": 0.5})))
            pipe.send((LOG, row.key, b"said something\n"))
            pipe.send((CHECKPOINT, row.key, b"state"))
            for _ in range(2):
                pipe.send((NEWS, Event(DONE, row, {"state": "complete", "given": checkpoint})))


def falling(pipe, plan):
    """Dies with the first row of its life; the third life is a good one."""
    lives = Path(plan.folder) / "lives"
    count = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (count + 1))
    if count >= 2:
        return obedient(pipe, plan)
    pipe.send((CAPACITY, 2))
    pipe.recv()
    os._exit(9)


def dead(pipe, plan):
    """Never comes up."""
    os._exit(3)


def refused(pipe, plan):
    """The cluster lets nobody in."""
    pipe.send((NOTE, "knocking"))
    pipe.send((FAULT, "nobody answers", "start one", False))
    time.sleep(60)


def without_us(pipe, plan):
    """A cluster on whose nodes nothing is installed: there, but without workers."""
    pipe.send((CAPACITY, 0))
    pipe.send((FAULT, "workers cannot start on the cluster", "install it", True))
    time.sleep(60)


def mute(pipe, plan):
    """Stuck in Ray."""
    time.sleep(60)


def deaf(pipe, plan):
    """Neither answers nor ends, and started a process of its own."""
    import subprocess

    child = subprocess.Popen(["sleep", "300"])
    (Path(plan.folder) / "child").write_text(str(child.pid))
    pipe.send((CAPACITY, 1))
    time.sleep(300)


def stopping(pipe, plan):
    """Stops its row when asked."""
    pipe.send((CAPACITY, 1))
    row = None
    while True:
        kind, *rest = pipe.recv()
        if kind == SUBMIT:
            row = rest[0]
        if kind == STOP:
            pipe.send((NEWS, Event(STOPPED, row)))
        if kind == CLOSE:
            return
