"""The one door to data: whatever it is made of, a dataset gives batches of images and labels by factor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

TRAIN, TEST, HELD_OUT = "train", "test", "held-out"
"""The search reads train and test only; the held-out split is for the last word on the finalists."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One thing that a label says of an image, and how many values it has."""

    name: str
    classes: int


@dataclass(frozen=True, slots=True)
class Dense:
    """A group of numbers that a picture is to be described by, `width` of them, each of mean 0 and deviation 1 over the images."""

    name: str
    width: int


class Batch(NamedTuple):
    """Images (N, 3, s, s) uint8, labels (N, factors) int64, dense targets (N, widths of all groups) float32."""

    images: Tensor
    labels: Tensor
    dense: Tensor


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was found where the data was looked for; nothing is dropped without being named here.

    `classes`: names of a folder's classes, in the order of their outputs. `unreadable` and `skipped` are (file, reason);
    `empty_classes` are folders without one readable image.
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
    classes: tuple[str, ...] = ()

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
            **({"classes": list(self.classes)} if self.classes else {}),
        }


@dataclass(frozen=True, slots=True)
class DataRequest:
    """`source` is a scenes version or a path; `seed` keys scenes; limits and the largest image size come from the preset.

    `decoded` is the cache folder that another process has already made of the source. `dense`: whether images come with dense
    targets, where the source decides that (scenes of a version have them or not).
    """

    source: str
    seed: int
    train_images: int
    test_images: int
    largest_size: int
    cache: Path
    decoded: Path | None = None
    dense: bool = False


class Dataset(Protocol):
    """Images of any size on demand. Ids are 0..size(split)-1; the same id is the same scene or file at every image size.

    `augmented`: whether training images depend on the key that they are asked for with.
    """

    augmented: bool
    factors: tuple[Factor, ...]
    dense: tuple[Dense, ...]
    report: DataReport

    def size(self, split: str) -> int:
        """Images in a split."""
        ...

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """These images, on whatever device is cheapest; random crops and flips keyed by `augment_key` and id."""
        ...


@dataclass(slots=True)
class BatchCache:
    """Rendered or resized images, kept in memory: they are asked for again every epoch, and by the next candidate of a size.

    Where they come to more than `limit_bytes`, those of the image size that was asked for longest ago are forgotten.
    """

    limit_bytes: int = 2**30
    _images: dict[int, dict[tuple[str, int], np.ndarray]] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, split: str, index: int, image_size: int) -> np.ndarray | None:
        """The image, or None where it has to be made."""
        return self._images.get(image_size, {}).get((split, index))

    def put(self, split: str, index: int, image: np.ndarray) -> None:
        """Keep an image (3, s, s) uint8, as far as there is room without forgetting its own size."""
        kept = self._images.pop(image.shape[-1], {})
        self._images[image.shape[-1]] = kept  # the newest is the last
        while self._bytes + image.nbytes > self.limit_bytes and len(self._images) > 1:
            oldest = self._images.pop(next(iter(self._images)))
            self._bytes -= sum(each.nbytes for each in oldest.values())
        if self._bytes + image.nbytes <= self.limit_bytes:
            kept[(split, index)] = image
            self._bytes += image.nbytes
