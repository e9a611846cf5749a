"""The peaks of a device, measured: what its roofline is drawn from."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from halosearch.cost.roofline import Peaks
from halosearch.cost.steps import seconds_per_step


def measure_peaks(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Peaks:
    """The device's own roofline, best of several tries: a square matrix product and a copy that no cache holds."""
    cuda = device.type == "cuda"
    side, dtype = (8192, torch.bfloat16) if cuda else (1536, torch.float32)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.ones((1 << 30) if cuda else (1 << 25), dtype=torch.uint8 if cuda else torch.float32, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: torch.mm(a, b), device, clock)
    copy = _best(lambda: target.copy_(source), device, clock)
    return Peaks(2 * side**3 / product, 2 * source.nbytes / copy)


def _best(run: Callable[[], object], device: torch.device, clock: Callable[[], float], tries: int = 7) -> float:
    run()
    return min(seconds_per_step(run, 1, device, clock) for _ in range(tries))
