"""Evaluations without training: their results follow from the dials alone, so that any two runs of a study can be compared.

A row writes a checkpoint after every step and goes on from it, as a training does. A file named by its key in the folder FAULTS
(an environment variable) makes it misbehave.
"""

import hashlib
import json
import os
import time
from pathlib import Path

import torch

from halosearch.cost.devices import fingerprint
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.space import config_from_dials
from halosearch.files import write_text
from halosearch.record.evaluation import ANCHOR
from halosearch.run.protocol import StoppedError

STEP_S = 0.05
FACTORS = ("shape", "texture", "relation")


def chance_of(*key):
    """A number in [0, 1) that follows from a key."""
    return int.from_bytes(hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest()[:6], "big") / 2**48


def timed(name, ratio):
    """A step time as the clock gives it."""
    around = {"median": ratio, "low": ratio * 0.98, "high": ratio * 1.02}
    return {
        "name": name,
        "seconds": around,
        "ratio_to_anchor": around,
        "memory_bytes": 2**20,
        "device": fingerprint(torch.device("cpu")),
        "samples_s": [ratio],
        "anchor_samples_s": [1.0],
    }


def make(settings):
    """Settings of a study, of which the rungs and the folder of checkpoints are used."""
    torch.set_num_threads(settings.threads)
    steps = int(os.environ.get("QUICK_STEPS", "4"))
    faults = Path(os.environ["FAULTS"]) if "FAULTS" in os.environ else None

    def evaluate(row, world):
        if row.kind == ANCHOR:
            return {"state": "complete", **timed("anchor", 1.0)}
        if faults is not None:
            misbehave(faults / row.key)
        began = time.time()
        walk(settings.checkpoints / f"{row.key}.pt", world, steps)
        return result(row, settings.rungs) | {"worked": [began, time.time(), os.getpid()]}

    return evaluate


def misbehave(fault):
    """Do what the file says."""
    what = fault.read_text() if fault.exists() else ""
    if what == "hang":
        time.sleep(10**6)
    if what == "leak":
        leaked = []
        while True:
            leaked.append(bytearray(os.urandom(1024)) * 16384)
            time.sleep(0.02)
    if what == "import":
        __import__("no_such_module")
    if what == "raise":
        raise ValueError("boom")


def walk(path, world, steps):
    """Steps that take time, each kept in the checkpoint."""
    if not steps:
        return
    done = json.loads(path.read_text())["done"] if path.exists() else 0
    while done < steps:
        if world.should_stop():
            raise StoppedError
        time.sleep(STEP_S)
        done += 1
        write_text(path, json.dumps({"done": done}))
        world.report(done, steps, 1.0 / done)
    path.unlink(missing_ok=True)


def result(row, rungs):
    """What a training would have found."""
    config = config_from_dials(row.candidate)
    macs = count(config).macs
    base = 0.4 * chance_of(sorted(row.candidate.items())) + 0.02 * (chance_of(row.key, row.seed) - 0.5)
    top = len(rungs) if row.rung < 0 else row.rung + 1
    scores = [
        {
            "images": 32,
            "score": round(base * (rung + 1) / len(rungs), 9),
            "images_seen": images,
            "accuracy": dict.fromkeys(FACTORS, 0.5),
            "chance": dict.fromkeys(FACTORS, 0.25),
            "cross_entropy": dict.fromkeys(FACTORS, 1.0),
            "joint_accuracy": 0.1,
        }
        for rung, images in enumerate(rungs[:top])
    ]
    found = {
        "state": "complete",
        "score": scores[-1]["score"],
        "scores": scores,
        "final": scores[-1],
        "curve": [[rungs[0], 1.0]],
        "images_per_s": 100.0,
        "train_seconds": 0.1,
        "seconds": 0.2,
        "batch_parts": 1,
    }
    return found | ({"step_time": timed("candidate", macs / 1e9)} if top == len(rungs) else {})
