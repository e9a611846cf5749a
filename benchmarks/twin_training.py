"""How fast do candidates' twins train on a CPU with this code, and with another checkout's?

    python -m benchmarks.twin_training --code DIR --name 22ec8f0 [--threads 1] [--rounds 15]

A step is forward, loss, backward and AdamW on a resident batch of 16, twins of an eighth of the width, as the preset `cpu-10m` trains
them. Each code runs in a process of its own; they take turns, a round of one and a round of the other, so that both meet the same
machine. `sharp`: the same twins with queries 100 times as large, as after training: attention's weights then hold numbers that are too
small to be normal, with which CPUs are slow unless they are told to take them for 0.

Images a second are medians of the rounds; the ratio is the median of the pairs' with its interval.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

TWINS = {"h0 at 64 px": ("h0", 64), "h1 at 64 px": ("h1", 64), "h2 at 96 px": ("h2", 96), "h4 at 96 px": ("h4", 96)}
BATCH, CLASSES, WIDTH = 16, 16, 0.125
SHARP = 100.0


def network_of(model, size):
    """The twin, of whichever edition of halosearch is imported."""
    from dataclasses import replace

    first = importlib.util.find_spec("halosearch.families") is None
    root = "halosearch.halonet" if first else "halosearch.families.halonet"
    published = "halosearch.space.family" if first else f"{root}.published"
    config = replace(importlib.import_module(published).FAMILY[model], image_size=size)
    twin = importlib.import_module(f"{root}.twin").twin_of(config, WIDTH)
    torch.manual_seed(0)
    return importlib.import_module(f"{root}.network").HaloNet(twin, CLASSES), first


def step_of(model, size, *, sharp):
    """A training step as that edition's trainer makes it."""
    network, first = network_of(model, size)
    network = network.to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if sharp and ("qkv" in name or name.endswith("query.weight")):
                queries = weight.shape[0] if "query" in name else _keys_of(network, name)
                weight[:queries] *= SHARP
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, fused=None if first else True)
    batch = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(BATCH) % CLASSES

    def step():
        loss = F.cross_entropy(network(batch), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, first


def _keys_of(network, name):
    """Rows of a layer's joined projection that make queries."""
    layer = network.get_submodule(name.rsplit(".", 2)[0])
    return layer.keys


def serve(threads):
    """Rounds on demand: a line with a case on standard input, the seconds of a step on standard output."""
    torch.set_num_threads(threads)
    steps = {}
    for line in sys.stdin:
        model, size, sharp = json.loads(line)
        key = model, size, sharp
        if key not in steps:
            steps[key], first = step_of(model, size, sharp=sharp)
            torch.set_flush_denormal(not first)  # as a study's workers do since
            for _ in range(3):
                steps[key]()
        started = time.perf_counter()
        for _ in range(3):
            steps[key]()
        sys.stdout.write(f"{(time.perf_counter() - started) / 3}\n")
        sys.stdout.flush()


def server(folder, threads):
    """A process that imports the halosearch of a folder."""
    command = [sys.executable, __file__, "--serve", "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def asked(process, case):
    """Seconds of a step."""
    process.stdin.write(json.dumps(case) + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def rows_of(found):
    """A row for each twin: images a second before and now, and the ratio with its interval."""
    from halosearch.cost.intervals import interval

    rows = []
    for name, pairs in found.items():
        before, now = ([pair[at] for pair in pairs] for at in (0, 1))
        ratio = interval([old / new for old, new in pairs])
        speeds = [f"{BATCH / statistics.median(each):.0f}" for each in (before, now)]
        rows.append([name, *speeds, f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"])
    return rows


def page_of(found, asked_for):
    """Markdown."""
    from benchmarks.recording import table

    return "\n\n".join(
        [
            "# Twins in training on a CPU, before and now",
            f"Images a second of a training step (batch {BATCH}, an eighth of the width, AdamW), before: commit {asked_for['name']}. Medians of "
            f"{asked_for['rounds']} rounds of both in turn, {asked_for['threads']} thread(s); `sharp`: queries {SHARP:.0f} times as large.",
            table(["twin", "before", "now", "ratio"], rows_of(found)),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", type=Path, help="the other checkout")
    parser.add_argument("--name", default="before", help="what it is called")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the page and results/ go")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.threads)
        return
    if arguments.code is None:
        parser.error("--code: the folder of another checkout, for example made by `git worktree add DIR REVISION`")
    from benchmarks.recording import HERE, provenance, write

    where = provenance(torch.device("cpu"))
    both = [server(folder, arguments.threads) for folder in (arguments.code, HERE.parent)]
    cases = {f"{name}{', sharp' * sharp}": (*twin, sharp) for sharp in (False, True) for name, twin in TWINS.items()}
    found = {name: [] for name in cases}
    for turn in range(arguments.rounds):
        for name, case in cases.items():
            order = (0, 1) if turn % 2 else (1, 0)  # who goes first changes
            seconds = {at: asked(both[at], case) for at in order}
            found[name].append([seconds[0], seconds[1]])
    for process in both:
        process.stdin.close()
        process.wait()
    asked_for = {"name": arguments.name, "rounds": arguments.rounds, "threads": arguments.threads}
    document = {"provenance": where, "asked": asked_for, "seconds": found}
    write("twin-training", torch.device("cpu"), document, page_of(found, asked_for), arguments.folder or HERE)


if __name__ == "__main__":
    main()
