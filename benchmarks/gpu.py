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
from functools import partial
from pathlib import Path

import torch

from benchmarks import gpu_kernels, gpu_training
from benchmarks import gpu_stages as stages
from benchmarks.gpu_page import page_of
from benchmarks.gpu_world import World
from benchmarks.recording import HERE, device_name, lines_of, provenance
from halosearch.cost.devices import resolve_device

MODELS = [
    "h1", "h4", "efficientnet-b4", "efficientnet-b1", "h0", "efficientnet-b0", "timm:halonet_h1@256", "resnet-50",
    "h2", "efficientnet-b2", "h3", "efficientnet-b3", "timm:efficientnet_b4@380", "h5", "efficientnet-b5",
    "h7", "efficientnet-b7", "h6", "efficientnet-b6",
]  # fmt: skip


HEAVY = {"h7", "h6", "h5", "efficientnet-b7", "efficientnet-b6", "efficientnet-b5"}
SMALL = ["s=64,b=8,h=3,rv=1,rb=1.5,l3=3,df=512"]


def planned(small):
    """Stages in order of value: name, seconds that it needs, what to run."""
    steps = [
        (f"step {name}", 30 if name in HEAVY else 8, partial(stages.step, name=name))
        for name in (SMALL if small else MODELS)
    ]
    return [
        ("environment", 5, stages.environment),
        ("compile and correct", 30, gpu_kernels.correct),
        *steps[:2],
        ("norm", 5, gpu_kernels.norm),
        ("pictures", 10, gpu_training.pictures),
        ("folder", 5, gpu_training.folder),
        ("training", 20, gpu_training.training),
        ("tiles", 15, gpu_kernels.tiles),
        ("best tiles h1", 8, partial(stages.step_with_best_tiles, name="h1")),
        ("best tiles h4", 8, partial(stages.step_with_best_tiles, name="h4")),
        *steps[2:4],
        ("trial", 30, gpu_training.trial),
        *steps[4:],
        ("layers", 15, gpu_kernels.layers),
        ("separate norm h4", 15, partial(stages.step_with_other_norms, name="h4")),
        ("norm tiles", 20, gpu_kernels.norm_tiles),
        ("compiled h1", 100, partial(stages.compiled, name="h1")),
        ("compiled timm:halonet_h1@256", 100, partial(stages.compiled, name="timm:halonet_h1@256")),
    ]


def known_lines(path, where):
    """Lines of an earlier, cut-off call of the same commit on the same device; another's are begun anew."""
    lines = lines_of(path)
    same = ("device", "torch", "commit", "triton")
    begun = next((line for line in lines if line["stage"] == "provenance"), None)
    fits = begun is not None and all(begun.get(key) == where.get(key) for key in same)
    return lines if fits else []


class Page:
    """The lines so far, in a file that grows by one whenever a stage ends, and the page that is made of them."""

    def __init__(self, folder, device, began):
        (folder / "results").mkdir(parents=True, exist_ok=True)
        stem = f"gpu-{device_name(device)}"
        self.path, self.page, self.began = folder / "results" / f"{stem}.jsonl", folder / f"{stem}.md", began
        where = provenance(device)
        self.lines = known_lines(self.path, where)
        if not self.lines:
            self.path.write_text("")
            self.say("provenance", where)

    def say(self, stage, found):
        line = {"stage": stage, "at_s": round(time.monotonic() - self.began, 1), **found}
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        sys.stdout.write(json.dumps(line, default=str)[:1500] + "\n")
        sys.stdout.flush()
        try:
            page = page_of(self.lines, self.path.name)
        except Exception as error:  # noqa: BLE001  # the numbers are in the file; a page can be written again
            page = f"This page could not be written ({type(error).__name__}: {error}); the numbers: results/{self.path.name}.\n"
        self.page.write_text(page)

    def has(self, stage):
        return any(line["stage"] == stage and "skipped" not in line for line in self.lines)


def run_stage(page, world, stage):
    """Say what a stage found, or why it found nothing."""
    name, needs, run = stage
    started = time.monotonic()
    if started + needs > world.until:
        page.say(name, {"skipped": "no time left"})
        return
    try:
        found = run(world)
    except Exception as error:  # noqa: BLE001  # a stage that fails is said, the others go on
        found = {"error": f"{type(error).__name__}: {error}"[:600], "trace": traceback.format_exc()[-1200:]}
    page.say(name, found | {"took_s": round(time.monotonic() - started, 1)})
    if world.cuda:
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--only", nargs="*", help="beginnings of stages' names")
    parser.add_argument("--dtypes", nargs="*", choices=list(gpu_kernels.DTYPES), help="of the correctness stage (all)")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    began, device = time.monotonic(), resolve_device(arguments.device)
    page = Page(Path(arguments.folder), device, began)
    wanted = [
        stage
        for stage in planned(arguments.small)
        if not arguments.only or any(stage[0].startswith(word) for word in arguments.only)
    ]
    names = {stage[0] for stage in wanted}
    world = World(device, arguments.small, began + arguments.seconds, names, arguments.dtypes)
    world.compiling_s = max(30.0, 0.4 * arguments.seconds)
    for stage in wanted:
        if not page.has(stage[0]):
            run_stage(page, world, stage)


if __name__ == "__main__":
    main()
