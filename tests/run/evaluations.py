"""Evaluations that workers import by name."""

import os
import time
from pathlib import Path

from halosearch.run.protocol import MachineFaultError, StoppedError


def die():
    os.kill(os.getpid(), 9)


def fail():
    raise ValueError("boom")


def hang():
    time.sleep(600)


def leak():
    leaked = []
    while True:
        leaked.append(bytearray(os.urandom(2**16)) * 256)
        time.sleep(0.02)


def fill_the_disk():
    raise MachineFaultError("the disk is full")


ACTIONS = {"die": die, "raise": fail, "hang": hang, "leak": leak, "full": fill_the_disk}


def make(argument):
    def evaluate(row, world):
        world.report(1, 2, 0.5)
        action = row.candidate["do"]
        if action in ACTIONS:
            ACTIONS[action]()
        if action == "wait":
            for _ in range(600):
                if world.should_stop():
                    raise StoppedError
                time.sleep(0.05)
        print("worker talk")
        return {"state": "complete", "pid": os.getpid(), "argument": argument}

    return evaluate


def make_without_a_module(argument):
    """What a worker's machine looks like where something is not installed."""
    return __import__("no_such_module")


class Broken:
    """A process that a fault has made useless, as a CUDA error does."""

    def __init__(self):
        self.broken = False


STATE = Broken()


def make_on_gpus(argument):
    """Says which GPU the process sees, and times on it one at a time; `break` breaks the process for good."""
    from halosearch.run.engines.gpus import timing_on
    from halosearch.run.protocol import ProcessBrokenError

    folder = Path(argument)

    def evaluate(row, world):
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if row.candidate["do"] == "break" and row.candidate.get("until", 0) > len(list(folder.glob("broke-*"))):
            (folder / f"broke-{time.monotonic_ns()}").touch()
            STATE.broken = True
        if STATE.broken:
            raise ProcessBrokenError("the GPU context broke: CUDA error: an illegal memory access was encountered")
        if row.candidate["do"] == "die":
            die()
        with timing_on(gpu, folder):
            busy = folder / f"busy-{gpu}"
            busy.touch(exist_ok=False)
            time.sleep(0.05)
            busy.unlink()
        return {"state": "complete", "gpu": gpu, "pid": os.getpid()}

    return evaluate
