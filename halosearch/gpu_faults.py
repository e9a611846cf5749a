"""What an error of PyTorch means: memory ran out, or the process's GPU context is broken."""

from __future__ import annotations

import torch

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
CAPTURING = ("capturing", "during capture", "StreamCapture")
"""What a graph cannot hold is refused without harm."""
BROKEN = (
    "CUDA error",
    "HIP error",
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "ECC error",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by CUDA's own exception or the words of the CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def is_broken(error: BaseException) -> bool:
    """Whether an error leaves the process's CUDA context unusable: every later call there would fail, whatever it computes."""
    if is_out_of_memory(error) or any(words in str(error) for words in CAPTURING):
        return False
    sticky = getattr(torch, "AcceleratorError", None)
    return (sticky is not None and isinstance(error, sticky)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in BROKEN)
    )
