"""What a number was measured on: a device by name, and a fingerprint without host or user names."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from halosearch import __version__
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.attention.halo_attention import chosen_backend, triton_is_there

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
BROKEN = ("CUDA error", "illegal memory access", "device-side assert", "unspecified launch failure", "ECC error")


def resolve_device(name: str) -> torch.device:
    """The torch device behind `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        EnvironmentFault: CUDA was asked for and is not there, or the name is unknown.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentFault(f"unknown device {name!r}", "--device cpu, or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"no CUDA device is available for --device {name}", "leave --device out to use the CPU")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise EnvironmentFault(f"--device {name} is not there: {there} CUDA device(s) are visible", "--device cuda:0")
    if device.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"device {name!r} is not supported", "--device cpu, or cuda")
    return device


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
            "triton": metadata.version("triton") if triton_is_there() else None,
        }
    return base | {"device": f"CPU, {cpu_name()}", "threads": torch.get_num_threads(), "precision": "float32"}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by CUDA's own exception or the words of the CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def is_broken(error: BaseException) -> bool:
    """Whether an error leaves the process's CUDA context unusable: every later call there would fail, whatever it computes."""
    if is_out_of_memory(error):
        return False
    sticky = getattr(torch, "AcceleratorError", None)
    return (sticky is not None and isinstance(error, sticky)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in BROKEN)
    )


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
