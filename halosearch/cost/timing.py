"""The clock: forward and training step of full candidates, interleaved with an anchor, with intervals.

One round runs every model once or more, in turn and then in reverse, the anchor first and last; what drifts (clocks, other
load) then falls on all alike. Reported: the median over rounds and a 95 % bootstrap interval of it, and the ratio to the
anchor of the same rounds. Input is random and resident; loading data is not part of a step.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import nn

from halosearch.cost.devices import fingerprint
from halosearch.errors import UsageError
from halosearch.halonet.network import HaloNet
from halosearch.space.config import CONV, HaloNetConfig, heads_by_width

CLASSES = 1000
BATCHES = 4
BOOTSTRAPS = 2000
MIN_TRAINING_BATCH = 2
WIDE = 0.02
"""An interval of more than +-2 % does not separate neighbours; it is marked, not hidden."""


def anchor_config(image_size: int) -> HaloNetConfig:
    """The yardstick of every round: an all-conv member with ResNet-50's depths and widths and squeeze-excite."""
    return HaloNetConfig(
        image_size=image_size,
        block_size=1,
        halo_size=0,
        expansion_ratio=4.0,
        stage_depths=(3, 4, 6, 3),
        heads=heads_by_width(),
        stage_kinds=(CONV,) * 4,
    )


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """How to measure: images per step, rounds, steps per round, warm-up steps, training step or forward only.

    Raises:
        UsageError: a training step of one image, whose batch norm is undefined on a map of one position.
    """

    batch_size: int
    rounds: int
    steps: int = 1
    warmup: int = 1
    train: bool = True
    anchor_size: int = 64

    def __post_init__(self) -> None:
        """Refuse a plan that no network can run."""
        if self.train and self.batch_size < MIN_TRAINING_BATCH:
            raise UsageError(
                f"a training step of {self.batch_size} image cannot be measured", "--batch-size 2, or --infer"
            )


@dataclass(frozen=True, slots=True)
class Measured:
    """A median with its 95 % interval over rounds."""

    median: float
    low: float
    high: float

    @property
    def wide(self) -> bool:
        """Whether half the interval exceeds 2 % of the median."""
        return (self.high - self.low) / 2 > WIDE * self.median

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"median": self.median, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds per step of one model (`seconds`), its ratio to the anchor, peak memory, raw samples by round."""

    name: str
    seconds: Measured
    ratio_to_anchor: Measured
    memory_bytes: int
    samples_s: tuple[float, ...]
    anchor_samples_s: tuple[float, ...]
    plan: TimingPlan
    device: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plan = {
            name: getattr(self.plan, name)
            for name in ("batch_size", "rounds", "steps", "warmup", "train", "anchor_size")
        }
        return {
            "name": self.name,
            "seconds": self.seconds.to_dict(),
            "ratio_to_anchor": self.ratio_to_anchor.to_dict(),
            "wide_interval": self.seconds.wide,
            "memory_bytes": self.memory_bytes,
            "samples_s": list(self.samples_s),
            "anchor_samples_s": list(self.anchor_samples_s),
            "plan": plan,
            "device": self.device,
        }


def measure(
    models: dict[str, HaloNetConfig],
    plan: TimingPlan,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> list[StepTime]:
    """Time every model against the anchor in the same rounds.

    Raises:
        torch.OutOfMemoryError: a model does not fit (CUDA).
    """
    anchor, _ = _stepper(anchor_config(plan.anchor_size), plan, device)
    steppers, memory = {}, {}
    for name, config in models.items():
        steppers[name], memory[name] = _stepper(config, plan, device)
    for run in (anchor, *steppers.values()):
        for _ in range(plan.warmup):
            run()
    samples: dict[str, list[float]] = {name: [] for name in models}
    anchors = []
    for turn in range(plan.rounds):
        order = list(models) if turn % 2 == 0 else list(models)[::-1]
        first = _timed(anchor, plan, device, clock)
        for name in order:
            samples[name].append(_timed(steppers[name], plan, device, clock))
        anchors.append((first + _timed(anchor, plan, device, clock)) / 2)
    return [_summary(name, samples[name], anchors, memory[name], plan, device) for name in models]


def _summary(
    name: str, samples: list[float], anchors: list[float], memory: int, plan: TimingPlan, device: torch.device
) -> StepTime:
    ratios = np.array(samples) / np.array(anchors)
    return StepTime(
        name, interval(samples), interval(ratios), memory, tuple(samples), tuple(anchors), plan, fingerprint(device)
    )


def interval(samples: Any) -> Measured:
    """Median and 95 % percentile-bootstrap interval of the median; fixed seed, so the same samples give the same interval."""
    values = np.asarray(samples, dtype=float)
    draws = np.random.default_rng(0).choice(values, (BOOTSTRAPS, len(values)))
    low, high = np.percentile(np.median(draws, 1), (2.5, 97.5))
    return Measured(float(np.median(values)), float(low), float(high))


def _timed(run: Callable[[], None], plan: TimingPlan, device: torch.device, clock: Callable[[], float]) -> float:
    _synchronize(device)
    start = clock()
    for _ in range(plan.steps):
        run()
    _synchronize(device)
    return (clock() - start) / plan.steps


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _stepper(config: HaloNetConfig, plan: TimingPlan, device: torch.device) -> tuple[Callable[[], None], int]:
    """A function that runs one step, and the peak memory of building the model and running its first step."""
    with _peak_memory(device) as peak:
        torch.manual_seed(0)
        network = HaloNet(config, CLASSES).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        size = config.image_size
        batches = [
            torch.randn(plan.batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
            for _ in range(BATCHES)
        ]
        targets = torch.arange(plan.batch_size, device=device) % CLASSES
        run = _training_step(network, batches, targets) if plan.train else _forward(network, batches)
        run()
        _synchronize(device)
    return run, peak[0]


def _training_step(network: nn.Module, batches: list[torch.Tensor], targets: torch.Tensor) -> Callable[[], None]:
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    turn = 0

    def run() -> None:
        nonlocal turn
        turn += 1
        batch = batches[turn % len(batches)]
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type == "cuda"):
            loss = F.cross_entropy(network(batch).float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return run


def _forward(network: nn.Module, batches: list[torch.Tensor]) -> Callable[[], None]:
    network.eval()
    turn = 0

    @torch.inference_mode()
    def run() -> None:
        nonlocal turn
        turn += 1
        batch = batches[turn % len(batches)]
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type == "cuda"):
            network(batch)

    return run


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int]]:
    """Peak bytes above the level at entry: the allocator's on CUDA, resident memory sampled every 2 ms on a CPU."""
    peak = [0]
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device) - before
        return
    process = psutil.Process(os.getpid())
    level, done = process.memory_info().rss, threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss - level)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()
