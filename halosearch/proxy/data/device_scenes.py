"""Procedural scenes of the second version where training runs on a GPU: drawn there, batch by batch, and never copied back.

Random numbers, labels and targets of a split are made once and kept on the device; so are the pictures of the test and held-out splits, size by size,
as far as there is room. Training pictures are drawn when they are asked for: that is faster than fetching them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from halosearch.proxy.data.dataset import TRAIN, Batch
from halosearch.proxy.data.dense_scenes import DenseScenes, raw_targets
from halosearch.proxy.data.kept_pictures import KeptPictures
from halosearch.proxy.data.scene_drawing import FACTORS

PIXEL_BYTES, SHARE = 200, 0.04
"""Memory that drawing takes for a pixel, and the share of the device's that it may take."""
FEWEST, MOST = 2**20, 2**24
"""Pixels drawn at once at least, and at most."""
DESCRIBED, NUMBERED = 4096, 65_536
"""Scenes that are described at once, and whose random numbers are drawn at once."""


def pixels_at_once(device: torch.device) -> int:
    """How many pixels to draw together: a picture is hundreds of small kernels, which take Python longer to launch than a GPU to run."""
    room = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    return max(FEWEST, min(MOST, int(SHARE * room / PIXEL_BYTES)))


class DeviceScenes(DenseScenes):
    """The same dataset as `DenseScenes`, whose batches lie on its device."""

    def __init__(self, version: str, seed: int, test_images: int, device: str) -> None:
        """Standardise as on a CPU, whichever device draws."""
        self._kept_numbers: dict[str, tuple[Tensor, Tensor]] | None = None
        super().__init__(version, seed, test_images)
        self._device, self._kept_numbers = torch.device(device), {}
        self._mean_D, self._deviation_D, self._used_D = (
            each.to(self._device) for each in (self._mean_D, self._deviation_D, self._used_D)
        )
        self._rows = dict[str, Tensor]()
        self._kept = KeptPictures()

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """Images, labels (N, 3) and standardised targets, on the device."""
        del augment_key
        ids_N = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(self._device, non_blocking=True)
        rows = self._described_split(split)[ids_N]
        images = self._pictures(split, ids, ids_N, image_size)
        return Batch(images, rows[:, : len(FACTORS)].long(), rows[:, len(FACTORS) :].contiguous())

    def _numbers(self, split: str, ids_N: Tensor) -> tuple[Tensor, Tensor]:
        if self._kept_numbers is None:  # not on its device yet
            return super()._numbers(split, ids_N)
        if split not in self._kept_numbers:
            every = torch.arange(self.size(split), device=self._device).split(NUMBERED)
            drawn, starts = zip(*(super(DeviceScenes, self)._numbers(split, part) for part in every), strict=True)
            self._kept_numbers[split] = torch.cat(drawn), torch.cat(starts)
        drawn_NP, starts_N3 = self._kept_numbers[split]
        return drawn_NP[ids_N], starts_N3[ids_N]

    def _pictures(self, split: str, ids: np.ndarray, ids_N: Tensor, image_size: int) -> Tensor:
        def every(all_ids: list[int]) -> Tensor:
            return self._draw_all(split, all_ids, image_size)

        kept = None if split == TRAIN else self._kept.get(split, image_size, self.size(split), every)
        return self._draw_all(split, ids.tolist(), image_size) if kept is None else kept[ids_N]

    def _draw_all(self, split: str, ids: list[int], image_size: int) -> Tensor:
        at_once = max(1, pixels_at_once(self._device) // image_size**2)
        parts = [self._drawn(split, ids[first : first + at_once], image_size) for first in range(0, len(ids), at_once)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _described_split(self, split: str) -> Tensor:
        if split not in self._rows:
            parts = []
            for first in range(0, self.size(split), DESCRIBED):
                scenes = self._scenes(split, list(range(first, min(first + DESCRIBED, self.size(split)))))
                raw_ND = torch.cat([*raw_targets(scenes, self.difficulty).values()], 1)[:, self._used_D]
                parts.append(torch.cat((scenes.classes_N3, (raw_ND - self._mean_D) / self._deviation_D), 1))
            self._rows[split] = torch.cat(parts)
        return self._rows[split]
