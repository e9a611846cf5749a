"""Which GPU a worker of this machine gets, and who may time on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
HIP_VISIBLE = "HIP_VISIBLE_DEVICES"
"""PyTorch for AMD heeds this one first where it is set; that for NVIDIA never."""


def gpus_for(
    device: str, kinds: Sequence[str], environ: Mapping[str, str] = os.environ, *, amd: bool = False
) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES has to say in a worker's process, for every GPU that a study on `device` may use.

    `kinds`: names of the GPUs that this process sees; those of the first one's kind are used, for step times of two kinds are not
    comparable. `amd`: whether PyTorch is built for AMD. Whatever names them here (numbers, UUIDs, MIG slices) names them there.
    """
    if not device.startswith("cuda"):
        return ()
    said = (environ.get(HIP_VISIBLE) if amd else "") or environ.get(VISIBLE, "")
    named = [name.strip() for name in said.split(",") if name.strip()]
    seen = (named or [str(index) for index in range(len(kinds))])[: len(kinds)]
    _, _, index = device.partition(":")
    if index:
        return tuple(seen[int(index) : int(index) + 1])
    return tuple(name for name, kind in zip(seen, kinds, strict=False) if kind == kinds[0])


def show_only(gpu: str) -> None:
    """Make this process see one GPU; CUDA reads it when it is first used."""
    os.environ[VISIBLE] = gpu
    if os.environ.get(HIP_VISIBLE):
        os.environ[HIP_VISIBLE] = gpu


def alone(device: torch.device, waiting: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
    """What a measurement is made in: on a GPU one at a time. `waiting`: see `timing_on`."""
    if device.type != "cuda":
        return nullcontext()
    import torch

    return timing_on(str(torch.cuda.get_device_properties(device).uuid), waiting=waiting)


def is_amd() -> bool:
    """Whether PyTorch is built for AMD."""
    import torch

    return torch.version.hip is not None


def kinds_here() -> tuple[str, ...]:
    """Names of the GPUs that this process sees."""
    import torch

    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


@contextmanager
def timing_on(gpu: str, folder: Path | None = None, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One at a time on a GPU, whichever process and study it is of: two that time together measure each other.

    `waiting` is called once where another measures.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    name = "".join(letter if letter.isalnum() else "-" for letter in gpu)
    lock = FileLock((folder or Path(tempfile.gettempdir())) / f"halosearch-timing-{user}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
