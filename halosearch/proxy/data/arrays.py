"""Labelled images held as arrays (memory-mapped where large): cropped, flipped and resized to the size a trial asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from halosearch.proxy.data.dataset import BatchCache, DataReport, Factor

CROP_AREA = (0.35, 1.0)
"""Share of the image that a training crop keeps; ImageNet recipes start at 0.08, which short trainings cannot use."""
CROP_ASPECT = (3 / 4, 4 / 3)


class ArrayImages:
    """A `Dataset` over arrays.

    Args:
        images: split -> (N, S, S, 3) uint8.
        labels: split -> (N,) int64.
        classes: number of classes of the one factor, `class`.
        report: where the images come from and what was left out.
        folder: cache folder that the arrays lie in, if any.
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        labels: dict[str, np.ndarray],
        classes: int,
        report: DataReport,
        folder: Path | None = None,
    ) -> None:
        """Keep the arrays as they are."""
        self._images, self._labels, self.report, self.folder = images, labels, report, folder
        self.factors: tuple[Factor, ...] = (Factor("class", classes),)
        self._cache = BatchCache()

    def size(self, split: str) -> int:
        """Images in a split."""
        return len(self._labels[split])

    def batch(
        self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None
    ) -> tuple[Tensor, Tensor]:
        """Images (N, 3, s, s) uint8 and labels (N, 1); whole images without a key, random crops and flips with one."""
        made = [self._image(split, int(i), image_size, augment_key) for i in ids]
        return torch.from_numpy(np.stack(made)), torch.from_numpy(self._labels[split][ids].astype(np.int64)[:, None])

    def _image(self, split: str, index: int, image_size: int, augment_key: tuple[int, int] | None) -> np.ndarray:
        if augment_key is not None:  # a stream of its own for every id, whatever batch it comes in
            stream = np.random.Philox(key=list(augment_key), counter=[0, 0, 0, index])
            return _resized(self._images[split][index], image_size, *random_crop(np.random.Generator(stream)))
        kept = self._cache.get(split, index, image_size)
        if kept is None:
            kept = _resized(self._images[split][index], image_size, (0.0, 0.0, 1.0, 1.0), flip=False)
            self._cache.put(split, index, kept)
        return kept


def random_crop(rng: np.random.Generator) -> tuple[tuple[float, float, float, float], bool]:
    """A box (left, top, right, bottom) in shares of the image and whether to mirror it."""
    area, aspect = rng.uniform(*CROP_AREA), np.exp(rng.uniform(*np.log(CROP_ASPECT)))
    width, height = min(1.0, np.sqrt(area * aspect)), min(1.0, np.sqrt(area / aspect))
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return (left, top, left + width, top + height), bool(rng.random() < 0.5)


def _resized(pixels: np.ndarray, image_size: int, box: tuple[float, float, float, float], flip: bool) -> np.ndarray:
    side = pixels.shape[0]
    image = Image.fromarray(pixels).resize(
        (image_size, image_size), Image.Resampling.BILINEAR, box=tuple(side * edge for edge in box)
    )
    array = np.asarray(image).transpose(2, 0, 1)
    return np.ascontiguousarray(array[:, :, ::-1] if flip else array)
