"""The one door to data: whatever it is made of, a dataset gives batches of images and labels by factor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

TRAIN, TEST, HELD_OUT = "train", "test", "held-out"
"""The search reads train and test only; the held-out split is for the last word on the finalists."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One thing that a label says of an image, and how many values it has."""

    name: str
    classes: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was found where the data was looked for; nothing is dropped without being named here.

    `unreadable` and `skipped` are (file, reason); `empty_classes` are folders without one readable image.
    `fingerprint` changes with the pixels and labels themselves, not with the names or dates of files.
    """

    description: str
    images: dict[str, int]
    native_size: int | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    empty_classes: tuple[str, ...] = ()
    unused: int = 0
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "description": self.description,
            "images": self.images,
            "native_size": self.native_size,
            "unreadable": [list(pair) for pair in self.unreadable],
            "skipped": [list(pair) for pair in self.skipped],
            "empty_classes": list(self.empty_classes),
            "unused": self.unused,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class DataRequest:
    """`source` is a scenes version or a path; `seed` keys scenes; limits and the largest image size come from the preset.

    `decoded` is the cache folder that another process has already made of the source.
    """

    source: str
    seed: int
    train_images: int
    test_images: int
    largest_size: int
    cache: Path
    decoded: Path | None = None


class Dataset(Protocol):
    """Images of any size on demand. Ids are 0..size(split)-1; the same id is the same scene or file at every image size."""

    factors: tuple[Factor, ...]
    report: DataReport

    def size(self, split: str) -> int:
        """Images in a split."""
        ...

    def batch(
        self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 3, s, s) uint8 and labels (N, factors) int64; random crops and flips keyed by `augment_key` and id."""
        ...


@dataclass(slots=True)
class BatchCache:
    """Rendered or resized images of one image size, kept in memory: they are asked for again every epoch."""

    limit_bytes: int = 2**30
    _size: int = 0
    _images: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, split: str, index: int, image_size: int) -> np.ndarray | None:
        """The image, or None where it has to be made."""
        return self._images.get((split, index)) if image_size == self._size else None

    def put(self, split: str, index: int, image: np.ndarray) -> None:
        """Keep an image (3, s, s) uint8 until another image size is asked for or the limit is reached."""
        if image.shape[-1] != self._size:
            self._images.clear()
            self._size, self._bytes = image.shape[-1], 0
        if self._bytes + image.nbytes <= self.limit_bytes:
            self._images[(split, index)] = image
            self._bytes += image.nbytes
