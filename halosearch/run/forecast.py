"""What a study would cost, as ranges, from a probe of a few candidates; nothing is trained to an end and nothing written.

A probe goes the way of a trial: its step is timed by the study's own plan, and its twin takes some steps of the study's own training,
with its pictures, optimiser and precision.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from halosearch.analysis.published_nearby import comparison_with_published
from halosearch.container import memory_bytes
from halosearch.cost.timing import measure
from halosearch.families.known import Config, candidate_text, config_of_dials, twin_of
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.stepping import UNLOOKED
from halosearch.proxy.training import Trainer, TrainingJob
from halosearch.run.engines.gpus import alone
from halosearch.run.place import parallel
from halosearch.run.same_inputs import recipe_of, timing_plan
from halosearch.search.design import price_of
from halosearch.spec.study import StudySpec

QUANTILES = (0.1, 0.5, 0.9)
PROBE_STEPS, GPU_PROBE_STEPS = 5, 4 * UNLOOKED
"""Steps of a twin's training; the first report is of a beginning and does not count."""
PARTS = 1.0
"""Time that the parts of a candidate take to measure, in units of the whole's: an assumption."""
PAGE_BYTES, TRIAL_BYTES = 5_500_000, 12_000
ACTIVATION_COPIES = 4
"""Tensors kept per counted activation in a training step: output, its norm, its non-linearity, its gradient."""


Probe = Callable[[StudySpec, Config, torch.device], dict[str, Any]]
"""What one candidate costs: its step, its twin's images/s, seconds to begin a training and to time the candidate."""


def forecast(spec: StudySpec, pool: pd.DataFrame, probe: Probe | None = None) -> dict[str, Any]:
    """Pool size, the probed costs of candidates at the 10, 50, 90 % quantiles of MACs, and ranges for the whole study and its parts.

    `probe`: where the costs come from (default: measured here), for example from a table of another device.
    """
    torch.set_num_threads(spec.threads)
    device = torch.device(spec.device)
    probes = [(probe or measured_probe)(spec, _at_quantile(pool, quantile), device) for quantile in QUANTILES]
    price = price_of(spec)
    share = spec.preset.rungs[0] / spec.preset.rungs[-1]
    jobs = price.whole + share * (price.searched - price.promoted)
    timings = price.timings + (price.rows if spec.preset.timed == "all" else 0)
    shown = images_shown(spec)
    parts = {
        "trainings_s": [jobs * shown / p["twin_images_per_s"] / parallel(spec) for p in probes],
        "beginnings_s": [jobs * p["begin_s"] / parallel(spec) for p in probes],
        "timings_s": [timings * p["timing_s"] / parallel(spec) for p in probes],
    }
    totals = [sum(each) for each in zip(*parts.values(), strict=True)]
    low, high = min(totals), max(totals)
    for each in probes:
        with_it = each["timing_s"] if spec.preset.timed == "all" else 0.0
        each["trial_s"] = shown / each["twin_images_per_s"] + each["begin_s"] + with_it
    return {
        "study": spec.name,
        "preset": spec.preset.name,
        "device": spec.device,
        "space_size": space_size(spec),
        "pool_size": len(pool),
        "trials": spec.trials,
        "price": price.words(),
        "retests": spec.retests,
        "workers": spec.workers,
        "probes": probes,
        "parts": {name: [min(each), max(each)] for name, each in parts.items()},
        "promised_s": 60.0 * spec.preset.minutes,
        "study_seconds": [low, high],
        "gpu_hours": [
            seconds * parallel(spec) / 3600 if spec.device.startswith("cuda") else 0.0 for seconds in (low, high)
        ],
        "disk_bytes": [
            PAGE_BYTES + TRIAL_BYTES * price.rows,
            PAGE_BYTES + 2 * TRIAL_BYTES * price.rows + cache_bytes(spec),
        ],
        "share_not_fitting": share_not_fitting(spec, pool, device),
        "published": comparison_with_published(spec),
    }


def space_size(spec: StudySpec) -> int:
    """Combinations of the dials before canonical form, validity and budget."""
    return int(np.prod([len(values) for values in spec.search_space().to_dict().values()], dtype=np.int64))


def cache_bytes(spec: StudySpec) -> int:
    """Most that decoded images can take; none for built-in scenes."""
    if spec.data in DIFFICULTIES:
        return 0
    return int(
        (spec.preset.train_images + 2 * spec.preset.test_images) * 3 * (1.15 * max(spec.search_space().image_size)) ** 2
    )


def share_not_fitting(spec: StudySpec, pool: pd.DataFrame, device: torch.device) -> float:
    """Share of the pool whose training step is estimated not to fit the device's memory."""
    available = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory_bytes()
    element = 2 if device.type == "cuda" else 4
    need = (
        pool["activations"].to_numpy(float) * spec.preset.timing_batch * element * ACTIVATION_COPIES
        + pool["params"].to_numpy(float) * 16
    )
    return float((need * (min(spec.workers, spec.max_in_flight) if device.type == "cpu" else 1) > available).mean())


def _at_quantile(pool: pd.DataFrame, quantile: float) -> Config:
    order = np.argsort(pool["macs"].to_numpy(), kind="stable")
    row = pool.iloc[order[int(quantile * (len(order) - 1))]]
    found: Config = config_of_dials(row.to_dict())
    return found


def measured_probe(spec: StudySpec, config: Config, device: torch.device) -> dict[str, Any]:
    """A candidate's costs as they are here."""
    started = time.monotonic()
    with alone(device):
        timed = measure({"probe": config}, timing_plan(spec), device)[0]
    timing_s = (1 + PARTS) * (time.monotonic() - started)
    speed, begin_s = twin_speed(spec, config, device)
    return {
        "candidate": candidate_text(config),
        "step_time_s": timed.seconds.to_dict(),
        "twin_images_per_s": speed,
        "begin_s": begin_s,
        "timing_s": timing_s,
    }


def images_shown(spec: StudySpec) -> float:
    """Images that a whole training costs, in training steps: trunk, every rung's cooldown, and a third for those that are only looked at."""
    recipe, rungs = recipe_of(spec.preset), spec.preset.rungs
    steps = recipe.trunk_steps(rungs[-1]) + sum(recipe.steps(images) - recipe.trunk_steps(images) for images in rungs)
    looked_at = len(rungs) * (recipe.norm_batches * recipe.batch + spec.preset.test_images)
    return steps * recipe.batch + looked_at / 3


def twin_speed(spec: StudySpec, config: Config, device: torch.device) -> tuple[float, float]:
    """Images/s of the twin's training, median over reports of its progress, and the seconds before the first.

    On built-in scenes, also where the study's own images are a folder: those are not decoded for a forecast.
    """
    batch, gpu = spec.preset.batch, device.type == "cuda"
    source = spec.data if spec.data in DIFFICULTIES else spec.preset.scenes
    request = DataRequest(source, spec.seed, batch, batch, config.image_size, Path(), dense=spec.preset.dense)
    recipe = replace(recipe_of(spec.preset), norm_batches=1)
    images = batch * (GPU_PROBE_STEPS if gpu else PROBE_STEPS)
    job = TrainingJob(twin_of(config, spec.preset.width_multiplier), recipe, (images,), spec.seed, batch)
    reports: list[tuple[float, int]] = []

    def note(done: int, total: int, loss: float) -> None:
        del total, loss
        reports.append((time.monotonic(), done))

    data = open_data(request, spec.device)
    started = time.monotonic()
    Trainer(job, data, device, on_step=note).run()
    speeds = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(reports)]
    speed = float(np.median(speeds))
    return speed, max(0.0, reports[0][0] - started - reports[0][1] / speed)
