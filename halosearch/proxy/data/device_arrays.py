"""Labelled images held on a GPU as bytes, cropped, mirrored and resized there.

Shape suffixes: N images, S pixels a side of the stored images, P pixels a side of those asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from halosearch.proxy.data.arrays import ArrayImages, random_crop
from halosearch.proxy.data.dataset import Batch
from halosearch.proxy.data.kept_pictures import KeptPictures
from halosearch.proxy.data.picture_targets import picture_targets

SHARE = 0.3
"""Of a GPU's free memory that images may take; those that do not fit are sent batch by batch."""
AT_ONCE = 512
"""Images that are resized together."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


class DeviceImages(ArrayImages):
    """The same dataset as `ArrayImages`, whose batches lie on its device; a picture's bytes differ by two levels at most, mostly none."""

    def __init__(self, images: ArrayImages, device: str) -> None:
        """Send the images there, as far as they fit."""
        self.__dict__.update(images.__dict__)  # what is on disk or in memory is shared, not read again
        self._device, self._kept = torch.device(device), KeptPictures()
        room = SHARE * torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else float("inf")
        self._bytes = dict[str, Tensor]()
        for split, pixels in sorted(self._images.items(), key=lambda pair: pair[1].nbytes):
            if pixels.nbytes <= room:
                room -= pixels.nbytes
                self._bytes[split] = self._sent(pixels)
        if self.dense:
            self._mean, self._deviation = self._mean.to(self._device), self._deviation.to(self._device)

    def _sent(self, pixels: np.ndarray) -> Tensor:
        """(N, S, S, 3) bytes as (N, 3, S, S) on the device; a memory map is not written to."""
        count, side = pixels.shape[:2]
        sent = torch.empty(count, 3, side, side, dtype=torch.uint8, device=self._device)
        for first in range(0, count, AT_ONCE):
            part = torch.from_numpy(np.array(pixels[first : first + AT_ONCE]))
            sent[first : first + AT_ONCE] = part.to(self._device).permute(0, 3, 1, 2)
        return sent

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """Images (N, 3, P, P) uint8, labels (N, 1), targets, on the device; whole images without a key, random crops and flips with one."""
        labels = self._handed(torch.from_numpy(self._labels[split][ids].astype(np.int64)[:, None]))
        whole = None
        if augment_key is None:
            whole = self._kept.get(
                split, image_size, self.size(split), lambda every: self._resized(split, every, image_size)
            )
        if whole is not None:
            images = whole[self._handed(torch.from_numpy(np.asarray(ids, dtype=np.int64)))]
        else:
            images = self._resized(split, ids.tolist(), image_size, augment_key)
        if not self.dense:
            return Batch(images, labels, torch.zeros(len(ids), 0, device=self._device))
        return Batch(images, labels, (picture_targets(images) - self._mean) / self._deviation)

    def _handed(self, few: Tensor) -> Tensor:
        """To the device without waiting for what it still computes."""
        return few.to(self._device, non_blocking=True)

    def _resized(self, split: str, ids: list[int], image_size: int, key: tuple[int, int] | None = None) -> Tensor:
        parts = [
            self._resized_part(split, ids[first : first + AT_ONCE], image_size, key)
            for first in range(0, len(ids), AT_ONCE)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _resized_part(self, split: str, ids: list[int], image_size: int, key: tuple[int, int] | None) -> Tensor:
        here = self._bytes.get(split)
        at = self._handed(torch.tensor(ids))
        pixels = self._sent(self._images[split][ids]) if here is None else here[at]
        crops = [(WHOLE, False) if key is None else random_crop(_stream(key, index)) for index in ids]
        boxes_N4 = self._handed(torch.tensor([box for box, _ in crops], dtype=torch.float64))
        mirrored = self._handed(torch.tensor([flip for _, flip in crops]))
        images = resized(pixels, boxes_N4, image_size)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def _stream(key: tuple[int, int], index: int) -> np.random.Generator:
    """A stream of its own for every id, as on a CPU."""
    return np.random.Generator(np.random.Philox(key=list(key), counter=[0, 0, 0, index]))


def resized(pixels_N3SS: Tensor, boxes_N4: Tensor, image_size: int) -> Tensor:
    """Boxes (left, top, right, bottom, in shares) of pictures in bytes, as Pillow's bilinear filter resizes them: (N, 3, P, P).

    Two products with the filter's weights, rounded to bytes after each, as Pillow does.
    """
    side = pixels_N3SS.shape[-1]
    across, down = (_weights(boxes_N4[:, i], boxes_N4[:, i + 2], side, image_size) for i in range(2))
    rows = _rounded(pixels_N3SS.float() @ across.transpose(1, 2)[:, None])
    return _rounded(down[:, None] @ rows).to(torch.uint8)


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def _weights(first_N: Tensor, last_N: Tensor, side: int, image_size: int) -> Tensor:
    """The triangle filter's weight of every stored pixel for every pixel asked for: (N, P, S), rows of sum 1."""
    scale_N = (last_N - first_N) * side / image_size
    asked, stored = (torch.arange(n, device=first_N.device, dtype=first_N.dtype) + 0.5 for n in (image_size, side))
    centre_NP = first_N[:, None] * side + asked * scale_N[:, None]
    reach_N = scale_N.clamp(min=1.0)
    weights = (1 - (stored - centre_NP[:, :, None]).abs() / reach_N[:, None, None]).clamp(min=0)
    return (weights / weights.sum(2, keepdim=True)).float()
