"""Labelled images held as arrays (memory-mapped where large): cropped, flipped and resized to the size a trial asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from halosearch.proxy.data.dataset import TRAIN, Batch, BatchCache, DataReport, Dense, Factor
from halosearch.proxy.data.picture_targets import DENSE, picture_targets

CROP_AREA = (0.35, 1.0)
"""Share of the image that a training crop keeps; ImageNet recipes start at 0.08, which short trainings cannot use."""
CROP_ASPECT = (3 / 4, 4 / 3)
STATISTICS = 1024
"""Training images that dense targets are standardised over."""
LEAST_DEVIATION = 1e-3
"""Pictures may all be grey, or alike in something else."""


class ArrayImages:
    """A `Dataset` over arrays.

    Args:
        images: split -> (N, S, S, 3) uint8.
        labels: split -> (N,) int64.
        classes: number of classes of the one factor, `class`.
        report: where the images come from and what was left out.
        folder: cache folder that the arrays lie in, if any.
        dense: whether images come with dense targets, made of the pictures themselves.
    """

    augmented = True

    def __init__(
        self,
        images: dict[str, np.ndarray],
        labels: dict[str, np.ndarray],
        classes: int,
        report: DataReport,
        folder: Path | None = None,
        *,
        dense: bool = False,
    ) -> None:
        """Keep the arrays as they are."""
        self._images, self._labels, self.report, self.folder = images, labels, report, folder
        self.factors: tuple[Factor, ...] = (Factor("class", classes),)
        self.dense: tuple[Dense, ...] = DENSE if dense else ()
        self._cache = BatchCache()
        if dense:
            some = torch.from_numpy(np.array(images[TRAIN][:STATISTICS])).permute(0, 3, 1, 2)
            found = torch.cat([picture_targets(part) for part in some.split(64)])
            self._mean, self._deviation = found.mean(0), found.std(0) + LEAST_DEVIATION

    def arrays(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Pixels (N, S, S, 3) uint8 and labels (N,) by split, as they are kept."""
        return self._images, self._labels

    def size(self, split: str) -> int:
        """Images in a split."""
        return len(self._labels[split])

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """Images (N, 3, s, s) uint8 and labels (N, 1); whole images without a key, random crops and flips with one."""
        images = torch.from_numpy(np.stack([self._image(split, int(i), image_size, augment_key) for i in ids]))
        labels = torch.from_numpy(self._labels[split][ids].astype(np.int64)[:, None])
        if not self.dense:
            return Batch(images, labels, torch.zeros(len(ids), 0))
        return Batch(images, labels, (picture_targets(images) - self._mean) / self._deviation)

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
