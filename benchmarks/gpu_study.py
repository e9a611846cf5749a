"""A study on a GPU: what do its trainings cost, is the GPU busy, and would the whole study keep its preset's promise of time?

    python -m benchmarks.gpu_study [--preset gpu-1h] [--budget 20M] [--seconds 240] [--record FOLDER]

Begins the study as `halosearch study` does, watches the GPU's utilisation (nvidia-smi, every half second) beside it, and stops it after
`--seconds`. What the whole study would take is worked out from the trainings that ended: jobs x their mean, with the interval of
a mean of so few. `--record`: the page of a study that ran, from its folder and the utilisation.csv in it; nothing is run, and `--ran` and
the variable COMMIT say what was.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t

from benchmarks.recording import HERE, provenance, table
from halosearch.record.candidates import text_of
from halosearch.record.evaluation import COMPLETE, REFERENCE, TRIAL
from halosearch.report.reading import open_study
from halosearch.search.design import price_of

QUERY = "--query-gpu=timestamp,utilization.gpu,memory.used,power.draw"
FILE = "utilisation.csv"
BEGINS = (0, 60)
"""Seconds from which on the GPU's use is averaged: the start of Python, data and anchor is behind it after a minute."""


@contextmanager
def watched(file):
    """The GPU's utilisation into a file, while something runs."""
    with file.open("w") as out:
        which = f"--id={torch.cuda.get_device_properties(0).uuid}"  # of several, the one that is studied on
        watch = subprocess.Popen(["nvidia-smi", which, QUERY, "--format=csv", "-lms", "500"], stdout=out)
        try:
            yield
        finally:
            watch.terminate()
            watch.wait()


def run(preset, budget, seconds, root):
    """Begin a study and stop it in time; its folder."""
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "halosearch", "study", "--preset", preset, "--budget-params", budget]
    with watched(root / FILE):
        subprocess.run([*command, "--max-time", f"{seconds:.0f}s", "--dir", str(root)], check=True)
    folder = next((root / "studies").iterdir())
    (root / FILE).rename(folder / FILE)
    return folder


def busy_after(file, begin):
    """Mean share of the time in which a kernel ran, of the samples from `begin` seconds on; None without samples."""
    if not file.exists():
        return None
    with file.open() as source:
        rows = list(csv.reader(source))[1:]
    samples = [
        (datetime.strptime(row[0].strip(), "%Y/%m/%d %H:%M:%S.%f"), float(row[1].split()[0]))
        for row in rows
        if len(row) > 1 and row[1].split()[0].isdigit()  # a slice of a GPU says [N/A]
    ]
    shares = [share for at, share in samples if begin <= (at - samples[0][0]).total_seconds()]
    return float(np.mean(shares)) / 100 if shares else None


def interval_of_a_mean(values):
    """95 %, by Student's t."""
    values = np.asarray(values, dtype=float)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), max(0.0, values.mean() - half), values.mean() + half


def found_in(folder):
    """What a study's rows say, as plain values."""
    opened = open_study(Path(), str(folder))
    rows, price = opened.table.rows(), price_of(opened.spec)
    done = [row for row in rows if row.kind in (TRIAL, REFERENCE) and row.state == COMPLETE]
    trials = [
        {
            "row": row.key,
            "candidate": text_of(row.candidate),
            "timed": "step_time" in row.result,
            "seconds": row.result["seconds"],
            "train_seconds": row.result["train_seconds"],
            "images_per_s": row.result["images_per_s"],
            "step_s": row.result.get("step_time", {}).get("seconds", {}).get("median"),
            "scores": list(row.scores),
            "accuracy": row.result["final"]["accuracy"],
            "parts": row.result["final"].get("parts", {}),
        }
        for row in done
    ]
    timed = next((row.result["step_time"] for row in done if "step_time" in row.result), {})
    return {
        "preset": opened.spec.preset.name,
        "promised_s": 60 * opened.spec.preset.minutes,
        "device": timed.get("device", {}).get("device"),
        "trainings": price.whole,
        "timings": price.timings,
        "price": price.words(),
        "rows": trials,
        "busy": {f"{begin} s": busy_after(folder / FILE, begin) for begin in BEGINS},
    }


def page_of(found, file):
    """Markdown."""
    trials = [row for row in found["rows"] if not row["timed"]]
    rows = [
        [
            row["row"],
            row["candidate"],
            f"{row['seconds']:.1f}",
            f"{row['train_seconds']:.1f}",
            f"{row['images_per_s']:,.0f}",
            f"{row['scores'][-1]:.3f}",
        ]
        for row in found["rows"]
    ]
    parts = [
        f"# The first minutes of a {found['preset']} study",
        table(["row", "candidate", "whole, s", "training, s", "images/s", "score"], rows),
        "`whole` includes compiling kernels that no earlier row needed, building, capturing and scoring; the reference's also timing.",
    ]
    if len(trials) > 1:
        mean, low, high = interval_of_a_mean([row["seconds"] for row in trials])
        timing = [row["seconds"] - row["train_seconds"] for row in found["rows"] if row["timed"]]
        each = timing[0] if timing else float("nan")
        whole = [found["trainings"] * one + found["timings"] * each for one in (mean, low, high)]
        parts.append(
            f"The whole study ({found['price'].rstrip('.')}): {found['trainings']} trainings x {mean:.1f} s [{low:.1f}, {high:.1f}] (mean of "
            f"{len(trials)}, its 95 % interval) and {found['timings']} timings x {each:.0f} s (the reference's, compiling included) "
            f"come to **{whole[0] / 60:.0f} minutes [{whole[1] / 60:.0f}, {whole[2] / 60:.0f}]**; the preset promises "
            f"{found['promised_s'] / 60:.0f}. That is an extrapolation, no whole study."
        )
    where = found["provenance"]
    if found["busy"]["0 s"] is not None:
        first, later = (100 * each for each in found["busy"].values())
        parts.append(
            f"A kernel ran on the GPU in **{first:.0f} %** of the time, start and end included, and in {later:.0f} % from the second minute on "
            "(nvidia-smi)."
        )
    parts.append(
        f"{found['device']}; commit {where['commit']}; {where['date']}.\nCommand: `{where['command']}`. Raw numbers: `results/{file}`."
    )
    return "\n\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="gpu-1h")
    parser.add_argument("--budget", default="20M")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--record", type=Path, help="a study's folder")
    parser.add_argument("--ran", help="with --record: the command that was run")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the page and results/ go")
    parser.add_argument("--name", default="study-gpu", help="of the page")
    arguments = parser.parse_args()
    folder = arguments.record or run(arguments.preset, arguments.budget, arguments.seconds, Path(tempfile.mkdtemp()))
    sys.stderr.write(f"the study and its {FILE}: {folder}\n")
    found = found_in(folder)
    if not found["rows"]:
        raise SystemExit("no training ended: give it more --seconds")
    where = provenance(torch.device("cpu"))  # of the GPU the study's own record says more
    found["provenance"] = {
        "command": arguments.ran or where["command"],
        "commit": where["commit"],
        "date": where["date"],
    }
    file = f"{arguments.name}.json"
    (arguments.folder / "results").mkdir(parents=True, exist_ok=True)
    (arguments.folder / "results" / file).write_text(json.dumps(found, indent=1) + "\n")
    page = page_of(found, file)
    (arguments.folder / f"{arguments.name}.md").write_text(page)
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
