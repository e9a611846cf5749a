"""Is anything lost when workers, nodes and drivers are killed at random?

    python -m benchmarks.distributed.chaos [--engine ray] [--trials 200] [--kills 20]

One study runs undisturbed with local processes. The same study runs on three Ray nodes on this machine, while evaluating processes,
actors, whole nodes and the driver are killed; whoever was killed is replaced, the driver by the same command. Then the two records
are compared: moves, candidates, states, scores, and the reports.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.distributed.nodes import ROOT, Nodes, left_over
from benchmarks.recording import HERE, provenance, table, write
from halosearch.record.table import Table
from halosearch.record.trials import trials_of

DRIVE = [sys.executable, "-m", "benchmarks.distributed.drive"]
VOLATILE = {"runs", "provenance"}
PAUSE_S = (1.5, 4.0)
WEIGHTS = {"worker": 5, "actor": 3, "node": 2, "driver": 3}


def moves_of(folder):
    """Everything decided and found, by trial: dials, moves, state, scores."""
    trials = trials_of(Table(folder / "studies/quick/trials.journal", create=False, read_only=True).rows())
    return [
        (t.number, t.dials, t.moves, t.state, [s["score"] for s in t.result.get("scores", ())], t.reason)
        for t in trials
    ]


def summary_of(folder):
    """The report without what must differ: starts of trials and the record's own identity."""
    summary = json.loads((folder / "reports/quick/summary.json").read_text())

    def stable(value):
        if isinstance(value, dict):
            return {key: stable(each) for key, each in value.items() if key not in VOLATILE}
        return [stable(each) for each in value] if isinstance(value, list) else value

    return stable(summary)


def drive(folder, arguments, log, *words):
    """Start a driver."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [*DRIVE, str(folder), str(arguments.trials), "--sampler", arguments.sampler, *words],
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env={**os.environ, "QUICK_STEPS": str(arguments.steps), "OMP_NUM_THREADS": "1"},
        )


def strike(what, nodes, driver, chance):
    """Kill one of a kind; whether there was one."""
    if what == "driver":
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        return True
    if what == "node":
        ready = [node for node in nodes.nodes if nodes.raylet(node) is not None]
        if not ready or not nodes.kill(chance.choice(ready), with_workers=True):
            return False
        nodes.join()
        return True
    workers = [p for p in nodes.workers() if _is_actor(p) == (what == "actor")]
    if not workers:
        return False
    with contextlib.suppress(Exception):
        chance.choice(workers).send_signal(signal.SIGKILL)
        return True
    return False


def _is_actor(process):
    with contextlib.suppress(Exception):
        return process.cmdline()[0].startswith("ray::")
    return False


def storm(folder, arguments, nodes, chance):
    """Run the study under fire until it ends; returns what was killed, when, and how the last driver ended."""
    log, struck, began = folder.with_suffix(".log"), [], time.monotonic()
    words = ["--engine", arguments.engine, "--address", nodes.address, "--workers", str(arguments.workers)]
    driver = drive(folder, arguments, log, *words)
    next_strike = began + arguments.calm
    while driver.poll() is None:
        time.sleep(0.1)
        if time.monotonic() < next_strike or len(struck) >= arguments.kills:
            continue
        what = chance.choices(list(WEIGHTS), WEIGHTS.values())[0]
        if strike(what, nodes, driver, chance):
            struck.append({"what": what, "after_s": round(time.monotonic() - began, 1)})
            print(struck[-1], flush=True)
        if what == "driver":
            driver = drive(folder, arguments, log, *words)
        next_strike = time.monotonic() + chance.uniform(*PAUSE_S) + (arguments.calm if what == "driver" else 0)
    return struck, driver.returncode, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="ray", choices=["ray", "ray-tune"])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=24, help="of 50 ms, in every trial")
    parser.add_argument("--calm", type=float, default=8.0, help="seconds without kills after a driver starts")
    parser.add_argument("--sampler", default="nsga2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=HERE)
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as work:
        plain, stormy = Path(work, "plain"), Path(work, "stormy")
        undisturbed = drive(plain, arguments, Path(work, "plain.log"), "--workers", str(arguments.workers))
        assert undisturbed.wait() == 0, Path(work, "plain.log").read_text()[-2000:]
        with Nodes(others=2, environment={"QUICK_STEPS": str(arguments.steps), "OMP_NUM_THREADS": "1"}) as nodes:
            struck, code, seconds = storm(stormy, arguments, nodes, random.Random(arguments.seed))
            time.sleep(3.0)
            orphans = [" ".join(p.cmdline())[:80] for p in nodes.workers()]
        log = Path(work, "stormy.log").read_text()
        if code:
            print(log[-6000:])
        one, other = moves_of(plain), moves_of(stormy)
        states = [trial[3] for trial in other]
        found = {
            "exit_code": code,
            "trials": len(other),
            "ended_once": sum(state in ("complete", "pruned") for state in states),
            "same_record": one == other,
            "same_report": summary_of(plain) == summary_of(stormy),
            "requeued": log.count("requeued "),
            "given_up": sum(state == "failed" for state in states),
            "orphans": orphans + left_over(nodes.temp),
            "seconds": round(seconds, 1),
            "struck": struck,
        }
    counts = {what: sum(each["what"] == what for each in struck) for what in WEIGHTS}
    held = found["same_record"] and found["same_report"] and not found["orphans"] and len(struck) >= arguments.kills
    page = "\n\n".join(
        [
            f"# Kills at random, engine {arguments.engine}",
            f"**{'Nothing was lost' if held else 'The claim fails'}:** {found['ended_once']} of {arguments.trials} trials ended exactly once after "
            f"{len(struck)} kills; record {'the same' if found['same_record'] else 'DIFFERENT'}, report "
            f"{'the same' if found['same_report'] else 'DIFFERENT'} as of the undisturbed run with local processes.",
            table(["killed", "times"], [[what, n] for what, n in counts.items()]),
            f"Trials of {arguments.steps * 0.05:g} s, {arguments.workers} workers on three nodes of one machine, sampler {arguments.sampler}, "
            f"{found['seconds']:g} s in all; {found['requeued']} evaluations run again from checkpoints, "
            f"{found['given_up']} given up, {len(found['orphans'])} processes left behind.",
        ]
    )
    write(f"chaos-{arguments.engine}", torch.device("cpu"), {"provenance": where, **found}, page, arguments.folder)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
