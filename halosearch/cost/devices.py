"""What a number was measured on: a device by name, and a fingerprint without host or user names."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from halosearch import __version__
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.attention.halo_attention import chosen_backend
from halosearch.families.norm import norm_backend
from halosearch.families.triton_probe import triton_is_there
from halosearch.gpu_faults import is_out_of_memory

OWN_CONTEXT_BYTES = 2**30
"""What a process's own CUDA context and kernels take beside its tensors, at most about."""
LEAST_CAPABILITY = (8, 0)
"""Ampere: before it bfloat16 has no tensor cores and is emulated."""


def resolve_device(name: str) -> torch.device:
    """The torch device behind `auto`, `cpu`, `cuda` or `cuda:1`; a numbered one becomes the current one.

    Raises:
        EnvironmentFault: CUDA was asked for and is not there, or the name is unknown.
    """
    if name == "auto":
        return _best_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentFault(f"unknown device {name!r}", "--device cpu, or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"no CUDA device is available for --device {name}", "leave --device out to use the CPU")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise EnvironmentFault(f"--device {name} is not there: {there} CUDA device(s) are visible", "--device cuda:0")
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        what = torch.cuda.get_device_name(device)
        raise EnvironmentFault(
            f"{what} computes bfloat16 by emulation only (compute capability {'.'.join(map(str, torch.cuda.get_device_capability(device)))})",
            "a GPU from Ampere on (8.0), or --device cpu",
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # Triton launches, and graphs are captured, on the current one
    if device.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"device {name!r} is not supported", "--device cpu, or cuda")
    return device


def _best_device() -> torch.device:
    """The first GPU where it can be used, else the CPU; one that is passed over is named."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.cuda.get_device_capability() < LEAST_CAPABILITY:
        what = torch.cuda.get_device_name()
        warnings.warn(
            f"{what} computes bfloat16 by emulation only and is not used but the CPU is (or: --device cuda:1)",
            stacklevel=3,
        )
        return torch.device("cpu")
    return torch.device("cuda")


def cpu_name() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fingerprint(device: torch.device) -> dict[str, Any]:
    """Everything that a step time depends on but the model; compare times of equal fingerprints only."""
    base = {
        "halosearch": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.system(),
        "attention": chosen_backend(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return base | {
            "device": properties.name,
            "memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "precision": "bfloat16 autocast",
            "triton": triton_version(),
            "norms": norm_backend(device),
        }
    return base | {"device": f"CPU, {cpu_name()}", "threads": torch.get_num_threads(), "precision": "float32"}


def triton_version() -> str | None:
    """Version of triton by the module itself: its distribution has other names on ROCm, nightly builds and Windows."""
    if not triton_is_there():
        return None
    import triton

    return str(triton.__version__)


def memory_of_others(device: torch.device) -> float:
    """Share of a GPU's memory that other processes hold; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return max(0.0, (total - free - torch.cuda.memory_reserved(device) - OWN_CONTEXT_BYTES) / total)


@contextmanager
def within_memory(device: torch.device) -> Iterator[None]:
    """Says that memory ran out as a fault of the environment.

    Raises:
        EnvironmentFault: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise EnvironmentFault(f"out of memory on {device}", "try a smaller image size or batch size") from error
