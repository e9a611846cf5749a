"""Whether Triton's kernels can be used on a device: tried on a small case before their first use, with the reason where not."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch

from halosearch.gpu_faults import is_broken, is_out_of_memory

MOST_ERROR = 0.05
"""Relative error of a small case in bfloat16 that right kernels stay far below."""
_PROBED: dict[tuple[str, str], str] = {}
"""Why kernels are not used, by what they compute and device; empty where they are."""


@lru_cache(maxsize=1)
def triton_is_there() -> bool:
    """Whether the optional package triton can be found (it is not imported)."""
    return importlib.util.find_spec("triton") is not None


def kernels_run(what: str, device: torch.device, error_of: Callable[[torch.device], float]) -> bool:
    """Whether the kernels that compute `what` compile and are right on a device (no compiler, an old Triton, an odd GPU).

    `error_of`: relative error of a small case, forward and back. Where they cannot be used, the reason is said once.
    """
    key = what, str(device)
    if key not in _PROBED:
        _PROBED[key] = _reason(device, error_of) if triton_is_there() else "the package triton is not installed"
        if _PROBED[key]:
            warnings.warn(f"{what} on {device} runs on torch's own kernels: {_PROBED[key]}", stacklevel=2)
    return not _PROBED[key]


def _reason(device: torch.device, error_of: Callable[[torch.device], float]) -> str:
    try:
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            error = error_of(device)
    except Exception as fault:
        if is_out_of_memory(fault) or is_broken(fault):
            raise  # memory of others, or a broken context: neither says anything of the kernels
        said = (str(fault).strip().splitlines() or [""])[-1]
        return f"Triton's cannot be used here ({type(fault).__name__}: {said})"
    return "" if error < MOST_ERROR else f"Triton's are wrong here (relative error {error:.2g})"
