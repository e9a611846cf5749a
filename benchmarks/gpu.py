"""The first minutes on a GPU: is it right, how fast is it, what holds it back? One command, most valuable answers first.

    python -m benchmarks.gpu [--seconds 540] [--only correct steps] [--small] [--folder F]

Needs torch, numpy, pandas, Triton and, where present, timm. Every stage appends its line to results/gpu-DEVICE.jsonl when it ends and
the page is written anew, so a call that is cut off leaves what came before; called again, it goes on behind the stages that are
there. Stages that the time left does not allow are skipped. Kernels are compiled in processes beside each other at first.
`--small`: the same on little images, to see whether it runs (also on a CPU).
"""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

import torch

from benchmarks import gpu_stages as stages
from benchmarks.gpu_page import page_of
from benchmarks.recording import HERE, device_name, provenance
from halosearch.cost.devices import resolve_device

MODELS = [
    "h1", "timm:halonet_h1@256", "h4", "efficientnet-b4", "efficientnet-b1", "h0", "efficientnet-b0",
    "resnet-50@224", "h2", "efficientnet-b2", "h3", "efficientnet-b3", "timm:efficientnet_b4@380", "h5", "efficientnet-b5",
    "h7", "efficientnet-b7", "h6", "efficientnet-b6",
]  # fmt: skip


def planned(small):
    """Stages in order of value: name, seconds that it needs, what to run."""
    models = ["s=64,b=8,h=3,rv=1,rb=1.5,l3=3,df=512"] if small else MODELS
    heavy = {"h7", "h6", "h5", "efficientnet-b7", "efficientnet-b6", "efficientnet-b5"}
    return [
        ("environment", 5, stages.environment),
        ("compile and correct", 120, stages.correct),
        ("norm", 10, stages.norm),
        ("pictures", 10, stages.pictures),
        *((f"step {name}", 30 if name in heavy else 12, lambda w, n=name: stages.step(w, n)) for name in models[:5]),
        ("layers", 15, stages.layers),
        ("training", 40, stages.training),
        ("trial", 60, stages.trial),
        ("tiles", 45, stages.tiles),
        ("norm tiles", 20, stages.norm_tiles),
        ("separate norm h4", 15, lambda w: stages.separate_norm(w, "h4")),
        *((f"step {name}", 30 if name in heavy else 12, lambda w, n=name: stages.step(w, n)) for name in models[5:]),
        ("compiled h1", 100, lambda w: stages.compiled(w, "h1")),
        ("compiled timm:halonet_h1@256", 100, lambda w: stages.compiled(w, "timm:halonet_h1@256")),
    ]


def known_lines(path, where):
    """Lines of an earlier, cut-off call of the same commit on the same device; another's are begun anew."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    same = ("device", "torch", "commit", "triton")
    begun = next((line for line in lines if line["stage"] == "provenance"), None)
    fits = begun is not None and all(begun.get(key) == where.get(key) for key in same)
    return lines if fits else []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--only", nargs="*", help="first words of stages")
    parser.add_argument("--dtypes", nargs="*", choices=list(stages.DTYPES), help="of the correctness stage (all)")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    began = time.monotonic()
    device = resolve_device(arguments.device)
    folder = Path(arguments.folder)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    stem = f"gpu-{device_name(device)}"
    path, where = folder / "results" / f"{stem}.jsonl", provenance(device)
    lines = known_lines(path, where)
    if not lines:
        path.write_text("")

    def say(stage, found):
        line = {"stage": stage, "at_s": round(time.monotonic() - began, 1), **found}
        lines.append(line)
        with path.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        sys.stdout.write(json.dumps(line, default=str)[:1500] + "\n")
        sys.stdout.flush()
        try:
            page = page_of(lines, path.name)
        except Exception as error:  # noqa: BLE001  # the numbers are in the file; a page can be written again
            page = f"This page could not be written ({type(error).__name__}: {error}); the numbers are in results/{path.name}.\n"
        (folder / f"{stem}.md").write_text(page)

    if not lines:
        say("provenance", where)
    world = stages.World(device, arguments.small, {}, arguments.dtypes)
    for name, needs, run in planned(arguments.small):
        if arguments.only and not any(name.startswith(word) for word in arguments.only):
            continue
        if any(line["stage"] == name and "skipped" not in line for line in lines):
            continue
        if time.monotonic() - began + needs > arguments.seconds:
            say(name, {"skipped": "no time left"})
            continue
        started = time.monotonic()
        try:
            found = run(world)
        except Exception as error:  # noqa: BLE001  # a stage that fails is said, the others go on
            found = {"error": f"{type(error).__name__}: {error}"[:600], "trace": traceback.format_exc()[-1200:]}
        say(name, found | {"took_s": round(time.monotonic() - started, 1)})
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
