"""What a study would cost, as ranges, from a probe of a few candidates; nothing is trained to an end and nothing written."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch

from halosearch.analysis.published_nearby import comparison_with_published
from halosearch.cost.timing import measure
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.network import HaloNet
from halosearch.families.halonet.notation import candidate_text
from halosearch.families.halonet.space import config_from_dials
from halosearch.families.halonet.twin import twin_of
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.run.place import parallel
from halosearch.run.same_inputs import recipe_of, timing_plan
from halosearch.search.design import price_of
from halosearch.spec.study import StudySpec

QUANTILES = (0.1, 0.5, 0.9)
PROBE_STEPS = 3
PARTS = 1.0
"""Time that the parts of a candidate take to measure, in units of the whole's: an assumption."""
PAGE_BYTES, TRIAL_BYTES = 5_500_000, 12_000
ACTIVATION_COPIES = 4
"""Tensors kept per counted activation in a training step: output, its norm, its non-linearity, its gradient."""


def forecast(spec: StudySpec, pool: pd.DataFrame) -> dict[str, Any]:
    """Pool size, probed step times and twin speeds at the 10, 50, 90 % quantiles of MACs, and ranges for the whole study."""
    torch.set_num_threads(spec.threads)
    device = torch.device(spec.device)
    probes = [_probe(spec, _at_quantile(pool, quantile), device) for quantile in QUANTILES]
    price = price_of(spec)
    share = spec.preset.rungs[0] / spec.preset.rungs[-1]
    jobs = price.whole + share * (price.searched - price.promoted)
    low, high = (
        pick(jobs * p["trial_s"] + price.timings * p["timing_s"] for p in probes) / parallel(spec)
        for pick in (min, max)
    )
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
        "study_seconds": [low, high],
        "gpu_hours": [low / 3600, high / 3600] if spec.device.startswith("cuda") else [0.0, 0.0],
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
    available = (
        torch.cuda.get_device_properties(device).total_memory
        if device.type == "cuda"
        else psutil.virtual_memory().available
    )
    element = 2 if device.type == "cuda" else 4
    need = (
        pool["activations"].to_numpy(float) * spec.preset.timing_batch * element * ACTIVATION_COPIES
        + pool["params"].to_numpy(float) * 16
    )
    return float((need * (min(spec.workers, spec.max_in_flight) if device.type == "cpu" else 1) > available).mean())


def _at_quantile(pool: pd.DataFrame, quantile: float) -> HaloNetConfig:
    order = np.argsort(pool["macs"].to_numpy(), kind="stable")
    row = pool.iloc[order[int(quantile * (len(order) - 1))]]
    return config_from_dials(row.to_dict())


def _probe(spec: StudySpec, config: HaloNetConfig, device: torch.device) -> dict[str, Any]:
    started = time.monotonic()
    timed = measure({"probe": config}, timing_plan(spec), device)[0]
    timing_s = (1 + PARTS) * (time.monotonic() - started)
    speed = _twin_speed(spec, config, device)
    with_it = timing_s if spec.preset.timed == "all" else 0.0
    return {
        "candidate": candidate_text(config),
        "step_time_s": timed.seconds.to_dict(),
        "twin_images_per_s": speed,
        "timing_s": timing_s,
        "trial_s": images_shown(spec) / speed + with_it,
    }


def images_shown(spec: StudySpec) -> float:
    """Images that a whole training costs, in training steps: trunk, every rung's cooldown, and a third for those that are only looked at."""
    recipe, rungs = recipe_of(spec.preset), spec.preset.rungs
    steps = recipe.trunk_steps(rungs[-1]) + sum(recipe.steps(images) - recipe.trunk_steps(images) for images in rungs)
    looked_at = len(rungs) * (recipe.norm_batches * recipe.batch + spec.preset.test_images)
    return steps * recipe.batch + looked_at / 3


def _twin_speed(spec: StudySpec, config: HaloNetConfig, device: torch.device) -> float:
    """Images per second of the twin's training step on random images, median of three steps."""
    twin = twin_of(config, spec.preset.width_multiplier)
    network = HaloNet(twin, 14).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(spec.preset.batch, 3, twin.image_size, twin.image_size, device=device).contiguous(
        memory_format=torch.channels_last
    )
    seconds = []
    for _ in range(PROBE_STEPS + 1):
        started = time.monotonic()
        network(images).square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - started)
    return spec.preset.batch / float(np.median(seconds[1:]))
