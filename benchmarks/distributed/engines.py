"""What an engine costs beside the trials themselves.

    python -m benchmarks.distributed.engines [--trials 1000] [--engines local ray ray-tune]

Trials of no length: the driver's own time per trial. Trials of one second on eight workers: how busy these are.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from benchmarks.distributed.nodes import ROOT
from benchmarks.recording import HERE, provenance, table, write
from halosearch.record.table import Table
from halosearch.record.trials import trials_of

DRIVE = [sys.executable, "-m", "benchmarks.distributed.drive"]
TRIVIAL, SECOND = 0, 20
LIMIT_MS, BUSY = 50.0, 0.9
TUNE_TRIALS = 150
"""Of no length under Ray Tune: it looks through all trials at every step, and rewrites them every few seconds."""


def run(engine, trials, workers, steps, sampler):
    """A study; CPU seconds of the driver and its bridge, wall seconds from the first trial to the last, records."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        log = Path(folder, "log")
        with log.open("wb") as file:
            driver = subprocess.Popen(
                [
                    *DRIVE,
                    folder,
                    str(trials),
                    "--engine",
                    engine,
                    "--workers",
                    str(workers),
                    "--retests",
                    "0",
                    "--sampler",
                    sampler,
                ],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env={**os.environ, "QUICK_STEPS": str(steps), "OMP_NUM_THREADS": "1"},
            )
        cpu = {}
        while driver.poll() is None:
            for process in _drivers(driver.pid, engine):
                times = process.cpu_times()
                cpu[process.pid] = times.user + times.system
            time.sleep(0.2)
        words = log.read_text()
        assert driver.returncode == 0, words[-2000:]
        trials_found = trials_of(
            Table(Path(folder, "studies/quick/trials.journal"), create=False, read_only=True).rows()
        )
    stamps = [float(line.split()[0]) for line in words.splitlines() if " start trial" in line or " end trial" in line]
    worked = sorted(tuple(t.result["worked"]) for t in trials_found if "worked" in t.result)
    return sum(cpu.values()), stamps[-1] - stamps[0], stamps[0], worked


def _drivers(pid, engine):
    """The driver and, with Ray, the process that talks to it."""
    try:
        driver = psutil.Process(pid)
        bridges = [p for p in driver.children() if "--multiprocessing-fork" in " ".join(p.cmdline())]
    except psutil.Error:
        return []
    return [driver, *(bridges[:1] if engine != "local" else [])]


def busy(worked, workers):
    """Share of the workers' time in which they worked, seconds until all were up, and the window that counts.

    The window reaches from the first job of the last worker to come up to the last start of a job.
    """
    first = {}
    for start, _, pid in worked:
        first.setdefault(pid, start)
    begin, last = max(sorted(first.values())[:workers]), max(start for start, _, _ in worked)
    inside = sum(max(0.0, min(end, last) - max(start, begin)) for start, end, _ in worked)
    return inside / (workers * (last - begin)), begin - worked[0][0], last - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds-trials", type=int, default=240)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--engines", nargs="*", default=["local", "ray", "ray-tune"])
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--folder", default=HERE)
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu"))
    raw = []
    for engine in arguments.engines:
        trials = arguments.trials if engine != "ray-tune" else min(arguments.trials, TUNE_TRIALS)
        cpu, wall, setup, _ = run(engine, trials, 4, TRIVIAL, arguments.sampler)
        _, _, _, worked = run(engine, arguments.seconds_trials, arguments.workers, SECOND, arguments.sampler)
        share, up_s, window_s = busy(worked, arguments.workers)
        raw.append(
            {
                "engine": engine,
                "trials": trials,
                "driver_cpu_s": cpu,
                "wall_s": wall,
                "before_first_trial_s": setup,
                "busy_share": share,
                "busy_window_s": window_s,
                "workers_up_after_s": up_s,
            }
        )
        print(raw[-1], flush=True)
    write(
        "engines", torch.device("cpu"), {"provenance": where, "engines": raw}, page_of(raw, arguments), arguments.folder
    )


def page_of(raw, arguments):
    """The page behind raw figures."""
    rows = [
        [
            each["engine"],
            f"{1e3 * each['driver_cpu_s'] / each['trials']:.1f} ms",
            f"{1e3 * each['wall_s'] / each['trials']:.1f} ms",
            f"{each['before_first_trial_s']:.0f} s",
            f"{100 * each['busy_share']:.0f} %",
        ]
        for each in raw
    ]
    plain = next((each for each in raw if each["engine"] == "ray"), None)
    verdict = ""
    if plain is not None:
        cost, held = 1e3 * plain["wall_s"] / plain["trials"], plain["busy_share"] >= BUSY
        verdict = (
            f"Ray: {cost:.0f} ms of wall time per trial of no length ({'under' if cost < LIMIT_MS else 'NOT under'} {LIMIT_MS:g}), "
            f"{arguments.workers} workers {100 * plain['busy_share']:.0f} % busy with trials of one second ({'at least' if held else 'NOT'} 90)."
        )
    return "\n\n".join(
        [
            "# What an engine costs",
            f"**{verdict}**",
            table(
                [
                    "engine",
                    "driver's CPU time per trial",
                    "wall time per trial",
                    "before the first trial",
                    f"{arguments.workers} workers busy",
                ],
                rows,
            ),
            f"{arguments.trials:,} trials of no length on four workers, then {arguments.seconds_trials} of one second (twenty sleeps and "
            f"checkpoints) on {arguments.workers}, of which the time counts in which all {arguments.workers} were up and work was left (starting "
            f"them takes {raw[0]['workers_up_after_s']:.0f} to {max(each['workers_up_after_s'] for each in raw):.0f} s on two cores; Ray Tune: "
            f"{TUNE_TRIALS} trials of no length). The driver's CPU time is that of the whole run, with reading the data, enumerating the cell, "
            f"joining Ray (in a process of its own, counted here) and writing the report; sampler {arguments.sampler}, because a proposal is the "
            "sampler's price, not the engine's (see search/page.md for that).",
        ]
    )


if __name__ == "__main__":
    main()
