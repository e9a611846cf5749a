"""Evaluations that workers import by name."""

import os
import time

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
