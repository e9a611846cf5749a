"""Comparing step times that were measured in the same rounds: ratios, exact intervals, verdicts; and the best batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from halosearch.cost.intervals import ENOUGH, Measured, interval
from halosearch.cost.steps import build_stepper, compiling, seconds_per_step
from halosearch.cost.subjects import Subject
from halosearch.cost.timing import StepTime
from halosearch.gpu_faults import is_out_of_memory

MEMORY_SHARE = 0.85
LARGEST_BATCH = 1024
WORTH_DOUBLING = 1.02
"""Gain in images/s below which a batch is not doubled any more."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio of a model's step to the first model's, over the same rounds.

    `verdict`: "faster" or "slower" where the whole interval lies on one side of 1; else "no difference" where it is at most
    2 % wide to either side, "unresolved" where it is wider, and "too few rounds" below six.
    """

    name: str
    against: str
    ratio: Measured
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "against": self.against, "ratio": self.ratio.to_dict(), "verdict": self.verdict}


def compare(times: list[StepTime]) -> list[Comparison]:
    """Every model against the first, which must have been measured in the same rounds."""
    first, kept = times[0], list(times[0].kept)
    base = np.array(first.samples_s)[kept]
    return [_against(first.name, base, other, kept) for other in times[1:]]


def _against(against: str, base: np.ndarray, other: StepTime, kept: list[int]) -> Comparison:
    ratios = np.array(other.samples_s)[kept] / base
    found = interval(ratios)
    if len(ratios) < ENOUGH:
        verdict = "too few rounds"
    elif found.high < 1:
        verdict = "faster"
    elif found.low > 1:
        verdict = "slower"
    else:
        verdict = "unresolved" if found.wide else "no difference"
    return Comparison(other.name, against, found, verdict)


def best_batch(
    subject: Subject, device: torch.device, clock: Callable[[], float], *, train: bool, compiled: bool, smallest: int
) -> int:
    """The batch with the most images/s, by doubling, within 85 % of the memory; never the edge of what fits."""
    with compiling(compiled=compiled):
        return _doubled(subject, device, clock, smallest, train=train, compiled=compiled)


def _doubled(
    subject: Subject, device: torch.device, clock: Callable[[], float], smallest: int, *, train: bool, compiled: bool
) -> int:
    batch, best, speed, memory = smallest, smallest, 0.0, _memory(device)
    while batch <= LARGEST_BATCH:
        try:
            stepper = build_stepper(subject, batch, device, train=train, compiled=compiled)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if stepper.memory_bytes > MEMORY_SHARE * memory:
            break
        now = batch / min(seconds_per_step(stepper.run, 1, device, clock) for _ in range(3))
        if now < speed * WORTH_DOUBLING:
            break
        batch, best, speed = batch * 2, batch, now
        del stepper
    return best


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(psutil.virtual_memory().available)
