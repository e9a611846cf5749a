"""What a user sees, and what is kept, when something breaks. Every fault is a real one.

    python -m benchmarks.distributed.faults [--only hang ...]

Needs Ray, PostgreSQL, gcc (for the clock) and the right to mount (for the disk); what is missing is said to be missing.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from benchmarks.distributed.nodes import ROOT, Nodes
from benchmarks.distributed.postgres import Server, programs
from benchmarks.recording import HERE, provenance, table, write
from halosearch.record.table import Table
from halosearch.record.trials import trials_of

DRIVE = [sys.executable, "-m", "benchmarks.distributed.drive"]
STUDY = ["30", "--sampler", "nsga2", "--workers", "2", "--retests", "0"]
OUTAGE_S = 60.0


class Case:
    """One study that something happens to."""

    def __init__(self, work, name):
        self.folder = work / name
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        self.faults = self.folder / "faults"
        self.faults.mkdir()
        self.environment = {"QUICK_STEPS": "10", "OMP_NUM_THREADS": "1", "FAULTS": str(self.faults)}
        self.place = self.folder / "home"
        self.place.mkdir()
        self.process = None
        self.codes = []

    def start(self, *words):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*DRIVE, str(self.place), *STUDY, *words],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def until(self, words, seconds=120):
        end = time.monotonic() + seconds
        while words not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{words!r} never came: {self.log.read_text()[-1500:]}")
            time.sleep(0.05)

    def wait(self, seconds=300):
        self.codes.append(self.process.wait(seconds))

    def journal(self):
        return self.place / "studies/quick/trials.journal"

    def states(self):
        trials = (
            trials_of(Table(self.journal(), create=False, read_only=True).rows()) if self.journal().exists() else []
        )
        counts = {}
        for trial in trials:
            counts[trial.state] = counts.get(trial.state, 0) + 1
        return counts

    def said(self, *marks):
        """The first line with each of the marks, without its time."""
        found = []
        for mark in marks:
            lines = [line for line in self.log.read_text().splitlines() if mark in line]
            found.append(lines[0].split(maxsplit=1)[1] if lines and lines[0][:1] == " " else (lines or ["nothing"])[0])
        return "; ".join(found)

    def evaluating(self):
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in below if "--multiprocessing-fork" in " ".join(p.cmdline())]


def worker_killed(case):
    """SIGKILL of a process that evaluates."""
    case.start()
    case.until("start trial-3")
    case.evaluating()[0].kill()
    case.wait()
    return case.said("requeued")


def driver_killed(case):
    """SIGKILL of the driver; the same command again."""
    case.start()
    case.until("start trial-5")
    case.process.kill()
    case.wait()
    before = case.states()
    case.start()
    case.wait()
    return f"nothing; the second run goes on from {before}"


def raylet_killed(case):
    """SIGKILL of a node's raylet; its worker process lives on for a moment."""
    with Nodes(others=1, head_cpus=1, cpus=1, environment=case.environment) as nodes:
        case.start("--engine", "ray", "--address", nodes.address)
        case.until("end trial-3")
        time.sleep(4.0)
        killed = nodes.kill(nodes.nodes[0], with_workers=False)
        nodes.join()
        case.wait()
        time.sleep(2.0)
        left = len(nodes.workers())
    return f"{case.said('requeued')} (raylet found: {killed}; {left} workers left at the end)"


def head_killed(case):
    """SIGKILL of the head (GCS) of the cluster; then the same command without --ray."""
    with Nodes(others=0, environment=case.environment) as nodes:
        case.start("--engine", "ray", "--address", nodes.address)
        case.until("end trial-2")
        nodes.kill(nodes.head)
        case.wait()
    before = case.states()
    case.start()
    case.wait()
    return f"{case.said('error:', 'help:')}; the second run goes on from {before}"


def disk_full(case):
    """A small tmpfs filled to the last byte while the study runs; then space again."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", str(case.place)], capture_output=True, check=False
    )
    if mounted.returncode:
        return None
    try:
        case.start()
        case.until("end trial-3")
        with contextlib.suppress(OSError), (case.place / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 2**20)
        case.wait()
        before = case.states()
        (case.place / "filler").unlink()
        case.start()
        case.wait()
        case.kept = case.states()
        return f"{case.said('error:', 'help:')}; the second run goes on from {before}"
    finally:
        subprocess.run(["umount", "-l", str(case.place)], check=False)


def database_gone(case):
    """PostgreSQL stopped for a minute while the study runs."""
    if programs() is None:
        return None
    with Server() as server:
        case.start("--storage", server.url)
        case.until("start trial-5")
        server.stop(signal.SIGQUIT)
        time.sleep(OUTAGE_S)
        server.start()
        case.wait()
        from halosearch.record.database import Database

        store = Table(Database(server.url, "halosearch quick"), create=False, read_only=True)
        states = [trial.state for trial in store.trials()]
        store.close()
    case.kept = {state: states.count(state) for state in sorted(set(states))}
    return case.said("the database does not answer")


def hanging(case):
    """A trial that never ends, with --max-trial-time 8s."""
    (case.faults / "trial-2").write_text("hang")
    case.start("--trial-time", "8")
    case.wait()
    return case.said("end trial-2")


def leaking(case):
    """A trial that takes more and more memory, with --max-trial-memory 700MiB."""
    (case.faults / "trial-2").write_text("leak")
    case.start("--trial-memory", str(700 * 2**20))
    case.wait()
    return case.said("end trial-2")


def import_in_trial(case):
    """A trial whose code imports a module that is not there."""
    (case.faults / "trial-2").write_text("import")
    case.start()
    case.wait()
    return case.said("end trial-2")


def import_in_worker(case):
    """Workers that end while they start (a broken module in their path)."""
    broken = case.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import sys, os\nif '--multiprocessing-fork' in sys.argv: os._exit(11)\n")
    case.environment["PYTHONPATH"] = str(broken)
    case.start()
    case.wait()
    del case.environment["PYTHONPATH"]
    case.start()
    case.wait()
    return case.said("error:", "help:")


def corrupt_image(case):
    """An image of --data overwritten with garbage while its epoch runs; the study ends; then it is prolonged."""
    from tests.proxy.pictures import make_tree

    pictures = make_tree(case.place / "pictures")
    words = ["study", "--budget-params", "6M", "--preset", "cpu-2m", "--name", "quick", "--data", "pictures", "--force"]
    run = subprocess.Popen(
        [sys.executable, "-m", "halosearch", *words, "--max-trials", "4", "--retests", "0"],
        cwd=case.place,
        stdout=subprocess.DEVNULL,
        stderr=case.log.open("ab"),
    )
    case.process = run
    case.until("event=start job=trial-1", 200)
    victim = pictures / "forest/p1.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(os.urandom(1000))
    case.codes.append(run.wait(400))
    with case.log.open("ab") as log:
        again = subprocess.run(
            [sys.executable, "-m", "halosearch", "study", "quick", "--max-trials", "5"],
            cwd=case.place,
            stdout=log,
            stderr=log,
            check=False,
        )
    case.codes.append(again.returncode)
    victim.write_bytes(whole)
    return f"nothing in the running study (images are decoded once, before it begins); prolonged: {case.said('error:', 'help:')}"


SHIFTED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_SHIFT"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t which, struct timespec *out) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, out);
    if (which == CLOCK_REALTIME) out->tv_sec += shift();
    return code;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec; out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""
"""Loaded before the C library, it moves the wall clock of every process of a study by as many seconds as a file says."""


def clock_jump(case):
    """The wall clock jumps two days ahead, then five days back, while the study runs."""
    if shutil.which("gcc") is None:
        return None
    source, library, shift = case.folder / "clock.c", case.folder / "clock.so", case.folder / "shift"
    source.write_text(SHIFTED_CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    shift.write_text("0")
    case.environment |= {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
    case.start("--trial-time", "60")
    case.until("start trial-5")
    shift.write_text(str(2 * 86_400))
    case.until("start trial-12")
    shift.write_text(str(-5 * 86_400))
    case.wait()
    trials = trials_of(Table(case.journal(), create=False, read_only=True).rows())
    begun = [trial.result["worked"][0] for trial in trials]
    assert max(begun) - min(begun) > 5 * 86_400, "the clock did not jump"
    return "nothing: limits and timings use the monotonic clock"


def store_cut(case):
    """The journal cut at five random offsets, one after the other, each while no driver runs."""
    chance = random.Random(0)
    said = []
    case.start()
    for n in range(5):
        case.until(f"start trial-{4 + 4 * n}")
        case.process.kill()
        case.process.wait()
        size = case.journal().stat().st_size
        with case.journal().open("rb+") as file:
            file.truncate(chance.randrange(size))
        case.start()
        time.sleep(1.0)
    case.wait()
    said.append(case.said("note the store was"))
    aside = len(list(case.journal().parent.glob("*.damaged-*")))
    return f"{said[0]} ({aside} damaged files kept aside)"


def second_driver(case):
    """A second driver on the same study."""
    case.start()
    case.until("start trial-1")
    first, case.process = case.process, None
    case.start()
    case.wait()
    case.codes.append(first.wait(300))
    return case.said("error:", "help:")


ALL_COMPLETE = {"complete": 30}
EXPECTED = {
    "hanging": {"complete": 29, "failed": 1},
    "leaking": {"complete": 29, "infeasible": 1},
    "import_in_trial": {"complete": 29, "failed": 1},
    "corrupt_image": {"complete": 4},
}
"""What the record must hold at the end."""
CASES = {
    function.__name__: function
    for function in (
        worker_killed,
        driver_killed,
        raylet_killed,
        head_killed,
        disk_full,
        database_gone,
        hanging,
        leaking,
        import_in_trial,
        import_in_worker,
        corrupt_image,
        clock_jump,
        store_cut,
        second_driver,
    )
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--folder", default=HERE)
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu"))
    raw = []
    work = Path(tempfile.mkdtemp(prefix="hf", dir="/tmp"))
    try:
        for name in arguments.only:
            case, began = Case(work, name), time.monotonic()
            case.kept = None
            try:
                seen = CASES[name](case)
            except Exception as error:  # noqa: BLE001  # the page says which case failed
                seen = f"THE CASE FAILED: {type(error).__name__}: {error}"
            kept = case.kept or case.states()
            if seen is not None and kept != EXPECTED.get(name, ALL_COMPLETE):
                seen = f"THE CASE FAILED: {kept} in the record; {seen}"
            entry = {
                "fault": name,
                "how": CASES[name].__doc__,
                "seen": "unmeasured: what it needs is not here" if seen is None else seen.replace(str(work), ""),
                "exit_codes": case.codes,
                "kept": kept,
                "seconds": round(time.monotonic() - began, 1),
            }
            print(entry, flush=True)
            raw.append(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    write("faults", torch.device("cpu"), {"provenance": where, "cases": raw}, page_of(raw), arguments.folder)
    sys.exit(int(any("CASE FAILED" in each["seen"] for each in raw)))


def page_of(raw):
    """The page behind raw entries."""
    rows = []
    for entry in raw:
        states = ", ".join(f"{n} {state}" for state, n in sorted(entry["kept"].items()))
        codes = " then ".join(map(str, entry["exit_codes"])).replace("-9", "killed")
        rows.append([entry["how"], entry["seen"].replace("|", "/"), codes, states])
    return "\n\n".join(
        [
            "# Faults",
            "Studies of 30 quick trials on two workers (the corrupt image: four real trainings). Exit codes are those of the runs one after "
            "the other; "
            "9 here stands for a study that ended in order before it was finished.",
            table(
                ["fault, injected for real", "what the user sees", "exit codes", "trials in the record at the end"],
                rows,
            ),
        ]
    )


if __name__ == "__main__":
    main()
