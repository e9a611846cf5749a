"""Proxy training on a GPU: pictures, a twin's training, one whole evaluation. Stages of `benchmarks.gpu`."""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_world import kernels_us, top
from halosearch.cost.steps import seconds_per_step
from halosearch.cost.timing import TimingPlan
from halosearch.families.halonet.space import dials_from_config
from halosearch.families.known import parse_candidate, twin_of
from halosearch.proxy import stepping
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import DataReport, DataRequest
from halosearch.proxy.data.dense_scenes import DenseScenes
from halosearch.proxy.data.device_arrays import DeviceImages
from halosearch.proxy.data.device_scenes import DeviceScenes
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.training import Trainer, TrainingJob
from halosearch.record.evaluation import TRIAL, Evaluation

CANDIDATE = "s=128,b=8,h=3,rv=1,rb=1.5,l3=8,df=1024"


def pictures(world):
    """Are scenes the same on this device and on a CPU, and how fast are they drawn?"""
    here, there = DenseScenes("scenes-2", 0, 64), DeviceScenes("scenes-2", 0, 64, str(world.device))
    ids, found = np.arange(32), {}
    for size in (64,) if world.small else (64, 128, 320):
        ours, theirs = (each.batch("train", ids, size, None) for each in (here, there))
        apart = (ours.images.int() - theirs.images.cpu().int()).abs()
        found[size] = {
            "levels_apart": apart.max().item(),
            "share_of_bytes_apart": (apart > 0).float().mean().item(),
            "targets_apart": (ours.dense - theirs.dense.cpu()).abs().max().item(),
            "labels_equal": torch.equal(ours.labels, theirs.labels.cpu()),
        }
        many = np.arange(64 if world.small else 1024)
        there.batch("train", many, size, None)
        seconds = seconds_per_step(lambda s=size, m=many: there.batch("train", m, s, None), 3, world.device)
        found[size]["images_per_s"] = len(many) / seconds
    return {"sizes": found}


def folder(world):
    """Images that lie on the device as bytes, cropped, mirrored and resized there: as on a CPU, and how fast?"""
    side, count = (24, 64) if world.small else (160, 4096)
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    splits = {"train": pixels, "test": pixels[:32], "held-out": pixels[:32]}
    labels = {split: np.arange(len(each), dtype=np.int64) % 3 for split, each in splits.items()}
    here = ArrayImages(splits, labels, 3, DataReport("", {}), dense=True)
    there, found = DeviceImages(here, str(world.device)), {}
    for size in (16,) if world.small else (64, 128, 320):
        ids = np.arange(32)
        ours, theirs = (each.batch("train", ids, size, (0, 1)) for each in (here, there))
        apart = (ours.images.int() - theirs.images.cpu().int()).abs()
        ids = np.arange(min(64, count))
        seconds = seconds_per_step(lambda s=size, i=ids: there.batch("train", i, s, (0, 2)), 5, world.device)
        found[size] = {
            "levels_apart": apart.max().item(),
            "share_of_bytes_apart": (apart > 0).float().mean().item(),
            "targets_apart": (ours.dense - theirs.dense.cpu()).abs().max().item(),
            "labels_equal": torch.equal(ours.labels, theirs.labels.cpu()),
            "images_per_s": len(ids) / seconds,
        }
    return {"stored": side, "sizes": found}


def trainer(device, rungs, data=None):
    """A training of the candidate's twin at a quarter of its width by the GPU presets' recipe."""
    config = twin_of(parse_candidate(CANDIDATE), 0.25)
    request = DataRequest(
        "scenes-2", 0, 1000, 1024 if device.type == "cuda" else 128, config.image_size, Path(), dense=True
    )
    data = data or open_data(request, str(device))
    batch = 64 if device.type == "cuda" else 16
    job = TrainingJob(config, Recipe(batch=batch, learning_rate=8e-3, warmup_steps=10), rungs, 0, data.size("test"))
    return Trainer(job, data, device)


def train(device, rungs):
    """To the end."""
    return trainer(device, rungs).run()


def training(world):
    """A twin trained for a while: step by step and as a graph, each twice. Same scores? How many images a second, how busy the GPU?"""
    rungs = (1600, 3200) if world.cuda and not world.small else (64, 128)
    rows, kept, data = [], stepping.EAGER_STEPS, trainer(world.device, rungs).data
    for how, eager in (("graph, first", kept), ("graph", kept), ("graph", kept), ("eager", 10**9), ("eager", 10**9)):
        stepping.EAGER_STEPS = eager
        started = time.perf_counter()
        result = trainer(world.device, rungs, data).run()
        row = {"how": how, "scores": [s.score for s in result.scores], "images_per_s": result.images_per_s}
        rows.append(row | {"train_s": result.seconds, "total_s": time.perf_counter() - started})
    stepping.EAGER_STEPS = kept
    found = {"rows": rows}
    if world.cuda:
        kernels = kernels_us(lambda: trainer(world.device, rungs, data).run(), 1)
        found |= {"device_s": sum(kernels.values()) / 1e6, "kernels_us": top(kernels, 16)}
    return found


def trial(world):
    """One evaluation as a worker runs it, twice: where does its time go, and what of it was compiling?"""
    from halosearch.run import evaluate as evaluation  # needs pydantic

    class Alone:
        should_stop = staticmethod(lambda: False)
        report = staticmethod(lambda *_: None)

    small = world.small or not world.cuda
    candidate = parse_candidate(CANDIDATE)
    rows = []
    with tempfile.TemporaryDirectory() as folder, _stopwatch(evaluation) as spent:
        settings = evaluation.Settings(
            DataRequest("scenes-2", 0, 300_000, 128 if small else 4096, 128, Path(folder), dense=True),
            Recipe(batch=16 if small else 64),
            (64, 128) if small else (3200, 12_800),
            0.25,
            TimingPlan(
                2 if small else 64,
                3 if small else 9,
                1 if small else 10,
                1 if small else 3,
                anchor_size=64 if small else 224,
            ),
            str(world.device),
            1,
            Path(folder),
        )
        evaluate = evaluation.make_evaluate(settings)
        for _ in range(2):
            spent.clear()
            started = time.perf_counter()
            result = evaluate(Evaluation(0, TRIAL, dials_from_config(candidate), trial=0), Alone())
            wanted = ("state", "reason", "train_seconds", "images_per_s", "zero_cost", "score")
            rows.append({"total_s": time.perf_counter() - started, **spent, **{key: result.get(key) for key in wanted}})
    return {"candidate": CANDIDATE, "rows": rows}


@contextmanager
def _stopwatch(module):
    """Seconds that the parts of an evaluation take."""
    spent, kept = {}, {name: getattr(module, name) for name in ("step_time", "part_times", "zero_cost_of", "_train")}

    def watched(name, function):
        def run(*arguments):
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent[f"{name.strip('_')}_s"] = time.perf_counter() - started

        return run

    for name, function in kept.items():
        setattr(module, name, watched(name, function))
    try:
        yield spent
    finally:
        for name, function in kept.items():
            setattr(module, name, function)
