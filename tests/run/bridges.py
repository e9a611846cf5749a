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
    RECORDED,
    STOP,
    SUBMIT,
)
from halosearch.run.jobs import DONE, PROGRESS, STOPPED, Event


def remember(plan, text):
    with (Path(plan.folder) / "heard").open("a") as file:
        file.write(text + "\n")


def obedient(pipe, plan):
    """Answers every job with what it was given, at once, twice."""
    pipe.send((CAPACITY, 7))
    serial = 0
    while True:
        kind, *rest = pipe.recv()
        if kind == CLOSE:
            remember(plan, "close")
            return
        if kind == RECORDED:
            remember(plan, f"recorded {rest[0]}")
        if kind == STOP:
            remember(plan, "stop")
        if kind == SUBMIT:
            job, checkpoint = rest
            serial += 1
            if job.dials.get("do") == "wait":
                continue
            pipe.send((NEWS, None, Event(PROGRESS, job, {"images": 1, "total": 2, "loss": 0.5})))
            pipe.send((LOG, job.key, b"said something\n"))
            pipe.send((CHECKPOINT, job.key, b"state"))
            for _ in range(2):
                pipe.send((NEWS, serial, Event(DONE, job, {"state": "complete", "given": checkpoint})))


def falling(pipe, plan):
    """Dies with the first job of its life; the third life is a good one."""
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
    """Stops its job when asked."""
    pipe.send((CAPACITY, 1))
    job = None
    while True:
        kind, *rest = pipe.recv()
        if kind == SUBMIT:
            job = rest[0]
        if kind == STOP:
            pipe.send((NEWS, 1, Event(STOPPED, job)))
        if kind == CLOSE:
            return
