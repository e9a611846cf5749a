"""How far do scores move on a processor that rounds otherwise? The same trainings with older vector instructions.

    python -m benchmarks.other_processor [--preset cpu-10m] [--folder benchmarks]

The base of `benchmarks.dials` and the last value of every dial, seed 0, are trained twice in processes of their own: with this
processor's instructions, and with PyTorch, oneDNN and MKL told to use those of an older one. That is a stand-in for another
processor, not one.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import torch

from benchmarks.dials import VALUES, trained
from benchmarks.recording import HERE, provenance, table, write
from halosearch.analysis.kendall import kendall_tau
from halosearch.spec.presets import PRESETS

OLDER = {
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}


def worker(preset):
    """Train everything in this process; one JSON line for each."""
    for dial, value in (("", ""), *((dial, values[-1]) for dial, values in VALUES.items())):
        sys.stdout.write(json.dumps(trained(preset, dial, value, 0)) + "\n")
        sys.stdout.flush()


def begin(preset, variables):
    """A process with these variables set."""
    command = [sys.executable, "-m", "benchmarks.other_processor", "--preset", preset, "--worker"]
    return subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cpu-10m")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.preset)
        return
    where = provenance(torch.device("cpu"))
    running = [begin(arguments.preset, variables) for variables in ({}, OLDER)]
    here, older = ([json.loads(line) for line in process.communicate()[0].splitlines()] for process in running)
    if any(process.returncode for process in running):
        raise SystemExit("a training process failed; its message is above")
    scores = np.array([[line["score"] for line in lines] for lines in (here, older)])
    gaps = np.abs(scores[0] - scores[1])
    found = {
        "largest": float(gaps.max()), "median": float(np.median(gaps)), "deviation": float(np.sqrt((gaps**2).mean() / 2)),
        "equal": int((gaps == 0).sum()), "tau": kendall_tau(*map(list, scores)), "spread": float(scores.mean(0).std(ddof=1)),
    }  # fmt: skip
    preset = PRESETS[arguments.preset]
    rows = [
        [f"{one['dial']}={one['value']}" if one["dial"] else "base", *(f"{number:.4f}" for number in pair), f"{pair[0] - pair[1]:+.4f}"]
        for one, pair in zip(here, scores.T, strict=True)
    ]  # fmt: skip
    page = "\n\n".join(
        [
            "# The same trainings with other rounding",
            f"**The largest of {len(gaps)} differences is {found['largest']:.4f}, the median {found['median']:.4f}; the two rankings agree with a "
            f"Kendall tau of {found['tau']:.2f}.** {found['equal']} scores are equal to the bit. As noise of one score the differences are "
            f"{found['deviation']:.4f}; the candidates' own standard deviation is {found['spread']:.3f}.",
            f"Candidates of [the sweep of dials](dials-{preset.name}-cpu.md), seed 0, preset {preset.name}. Older instructions: "
            f"`{' '.join(f'{name}={value}' for name, value in OLDER.items())}`. A stand-in for another processor, not one.",
            table(["candidate", "this processor", "older instructions", "difference"], rows),
        ]
    )
    write(
        "other-processor",
        torch.device("cpu"),
        {"provenance": where, **found, "here": here, "older": older},
        page,
        arguments.folder,
    )


if __name__ == "__main__":
    main()
