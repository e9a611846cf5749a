"""Which GPU a worker of this machine gets, and who may time on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus_for(device: str, count: int, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES has to say in a worker's process, for every GPU that a study on `device` may use.

    `count`: GPUs that this process sees. Whatever names them here (numbers, UUIDs, MIG slices) names them there.
    """
    if not device.startswith("cuda"):
        return ()
    named = [name.strip() for name in environ.get(VISIBLE, "").split(",") if name.strip()]
    seen = (named or [str(index) for index in range(count)])[:count]
    _, _, index = device.partition(":")
    return tuple(seen) if not index else tuple(seen[int(index) : int(index) + 1])


@contextmanager
def timing_on(gpu: str, folder: Path | None = None) -> Iterator[None]:
    """One at a time on a GPU, whichever process and study it is of: two that time together measure each other."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    name = "".join(letter if letter.isalnum() else "-" for letter in gpu)
    with FileLock((folder or Path(tempfile.gettempdir())) / f"halosearch-timing-{user}-{name}.lock"):
        yield
