"""Procedural scenes of the second version where training runs on a GPU: drawn there, batch by batch, and never copied back.

Labels and targets of a split are made once and kept on the device; so are the pictures of the test and held-out splits, size by size,
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

PIXELS = 2**22
"""Pixels that are drawn at once: some 200 bytes of the device's memory for each."""
DESCRIBED = 4096
"""Scenes that are described at once."""


class DeviceScenes(DenseScenes):
    """The same dataset as `DenseScenes`, whose batches lie on its device."""

    def __init__(self, version: str, seed: int, test_images: int, device: str) -> None:
        """Standardise as on a CPU, whichever device draws."""
        super().__init__(version, seed, test_images)
        self._device = torch.device(device)
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

    def _pictures(self, split: str, ids: np.ndarray, ids_N: Tensor, image_size: int) -> Tensor:
        def every(all_ids: list[int]) -> Tensor:
            return self._draw_all(split, all_ids, image_size)

        kept = None if split == TRAIN else self._kept.get(split, image_size, self.size(split), every)
        return self._draw_all(split, ids.tolist(), image_size) if kept is None else kept[ids_N]

    def _draw_all(self, split: str, ids: list[int], image_size: int) -> Tensor:
        at_once = max(1, PIXELS // image_size**2)
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
