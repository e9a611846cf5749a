"""Procedural scenes of the second version as a dataset: labels by factor, and dense targets, which the renderer knows.

Everything that fixes a scene, and its noise, comes from a counter-based generator keyed by (seed, split, id), never by image size,
batch or device. Pixels are rounded from floating point, in which two devices may differ (by one level in 1.6e-5 of the bytes, see
docs/gpu.md). Noise grows with image size, so that a larger image does not average it away for free.

Shape suffixes: N images, S pixels a side, D dense targets.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halosearch.proxy.data import philox
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, Batch, BatchCache, DataReport, Dense, Factor
from halosearch.proxy.data.difficulty import DIFFICULTIES, Difficulty
from halosearch.proxy.data.scene_drawing import (
    DRAWS,
    FACTORS,
    TURN,
    Scenes,
    companion_mask,
    contour,
    draw,
    object_mask,
    scenes_of,
)

HELD_OUT_PER_TEST = 4
SPLITS = {TRAIN: 0, TEST: 1, HELD_OUT: 2}
DRAWN, NOISE = 0, 1
"""Streams of a scene's random numbers."""
NOISE_BANK = 2**20
"""Noise is read from a bank of so many nearly normal numbers, from a place of its own for every scene and colour."""
RENDER_BATCH = 64
TARGET_SIZE = 32
ANGLES = 16
STATISTICS = 2048
"""Training scenes that targets are standardised over."""
SPARSE, LEAST_DEVIATION = ("object mask", "companion mask"), 0.05
"""Cells of these that vary less are left out: nearly constant ones would give a score for nothing."""


class DenseScenes:
    """A `Dataset` of procedural scenes with dense targets.

    Args:
        version: a key of `DIFFICULTIES`; frozen, a harder or easier task is another version.
        seed: keys every scene.
        test_images: images in the test split; the held-out split has four times as many.
        device: where pictures are drawn.
    """

    factors: tuple[Factor, ...] = FACTORS
    augmented = False

    def __init__(self, version: str, seed: int, test_images: int, device: str = "cpu") -> None:
        """Draw what targets are standardised over, and the noise."""
        self.version, self.seed, self.difficulty = version, seed, DIFFICULTIES[version]
        self._device = torch.device(device)
        self._sizes = {
            TRAIN: self.difficulty.train_images,
            TEST: test_images,
            HELD_OUT: HELD_OUT_PER_TEST * test_images,
        }
        self._images, self._targets = BatchCache(), dict[tuple[str, int], Tensor]()
        self._mean_D, self._deviation_D, self._used_D, self.dense = self._statistics()
        self.report = DataReport(
            f"procedural scenes, version {version}, seed {seed} (synthetic)",
            dict(self._sizes),
            fingerprint=f"{golden_hash(version)}-{seed}",
        )

    def size(self, split: str) -> int:
        """Images in a split."""
        return self._sizes[split]

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """Images, labels (N, 3) and standardised targets. Scenes are fresh enough: they are not augmented."""
        del augment_key
        chosen = ids.tolist()
        fresh = [i for i in dict.fromkeys(chosen) if self._images.get(split, i, image_size) is None]
        made = dict[int, np.ndarray]()
        for start in range(0, len(fresh), RENDER_BATCH):
            part = fresh[start : start + RENDER_BATCH]
            for index, image in zip(part, self._drawn(split, part, image_size).cpu().numpy(), strict=True):
                made[index] = image
                self._images.put(split, index, image)
        images = [made[i] if i in made else self._images.get(split, i, image_size) for i in chosen]
        labels, dense = self._described(split, chosen)
        return Batch(torch.from_numpy(np.stack([each for each in images if each is not None])), labels, dense)

    def _scenes(self, split: str, ids: list[int]) -> Scenes:
        return scenes_of(self._numbers(split, self._sent(ids))[0])

    def _sent(self, ids: list[int]) -> Tensor:
        """On the device, without waiting for what it is at."""
        return torch.tensor(ids).to(self._device, non_blocking=True)

    def _numbers(self, split: str, ids_N: Tensor) -> tuple[Tensor, Tensor]:
        """Random numbers of scenes (N, DRAWS), and where the noise of their colours begins (N, 3)."""
        key = (self.seed, SPLITS[split])
        return philox.uniform(key, ids_N, DRAWS, DRAWN), philox.stream(key, ids_N, 3, NOISE) % NOISE_BANK

    def _drawn(self, split: str, ids: list[int], image_size: int) -> Tensor:
        """Pictures (N, 3, S, S) uint8 on the device."""
        drawn_NP, starts_N3 = self._numbers(split, self._sent(ids))
        clean = draw(scenes_of(drawn_NP), image_size, self.difficulty)
        pixels = image_size**2
        round_and_round = self._noise.repeat(1 + -(-pixels // NOISE_BANK))
        noise = round_and_round.unfold(0, pixels, 1)[starts_N3].view_as(clean)
        return to_uint8(clean + noise * (self.difficulty.noise * image_size / 64))

    @cached_property
    def _noise(self) -> Tensor:
        return philox.noise((0, len(SPLITS)), torch.arange(1, device=self._device), NOISE_BANK)[0]

    def _described(self, split: str, ids: list[int]) -> tuple[Tensor, Tensor]:
        """Labels and standardised targets, kept: they are the same at every image size."""
        fresh = [i for i in dict.fromkeys(ids) if (split, i) not in self._targets]
        if fresh:
            scenes = self._scenes(split, fresh)
            raw_ND = torch.cat([*raw_targets(scenes, self.difficulty).values()], 1)[:, self._used_D]
            rows = torch.cat((scenes.classes_N3, (raw_ND - self._mean_D) / self._deviation_D), 1).cpu()
            self._targets.update({(split, i): row for i, row in zip(fresh, rows, strict=True)})
        rows = torch.stack([self._targets[(split, i)] for i in ids])
        return rows[:, : len(FACTORS)].long(), rows[:, len(FACTORS) :].contiguous()

    def _statistics(self) -> tuple[Tensor, Tensor, Tensor, tuple[Dense, ...]]:
        parts = [
            raw_targets(self._scenes(TRAIN, list(range(first, first + 256))), self.difficulty)
            for first in range(0, STATISTICS, 256)
        ]
        raw = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        used = {name: values.std(0) >= (LEAST_DEVIATION if name in SPARSE else 0) for name, values in raw.items()}
        whole_ND, used_D = torch.cat([*raw.values()], 1), torch.cat([*used.values()])
        dense = tuple(Dense(name, int(kept.sum())) for name, kept in used.items())
        return whole_ND.mean(0)[used_D], whole_ND.std(0)[used_D], used_D, dense


def raw_targets(scenes: Scenes, difficulty: Difficulty) -> dict[str, Tensor]:
    """What is to be said of every scene, by group: (N, width) float32, before they are standardised."""
    angles_NA = (torch.arange(ANGLES, device=scenes.base_NC.device) * (TURN / ANGLES)).expand(len(scenes.base_NC), -1)
    masks = {
        "object mask": object_mask(scenes, TARGET_SIZE, difficulty),
        "companion mask": companion_mask(scenes, TARGET_SIZE),
    }
    picture = draw(scenes, TARGET_SIZE, difficulty)
    return {
        "object colour": scenes.ink_NC,
        "companion colour": scenes.companion_NC,
        "background colour": scenes.base_NC,
        "companion place": scenes.far_N2,
        "object place": scenes.centre_N2,
        "object size": scenes.radius_N[:, None],
        "stripe direction": torch.stack(((2 * scenes.direction_N).cos(), (2 * scenes.direction_N).sin()), 1),
        "stripe frequency": scenes.classes_N3[:, 1:2].float(),
        "contour": contour(scenes, angles_NA),
        **{name: F.avg_pool2d(mask, 4).flatten(1) for name, mask in masks.items()},
        "small picture": F.avg_pool2d(picture, 8).flatten(1),
    }


def to_uint8(images: Tensor) -> Tensor:
    """Round intensities in [0, 1] to bytes."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def golden_hash(version: str) -> str:
    """Twelve hexadecimal digits of what fixes eight scenes and of their pictures in steps of 16: changes when the task changes."""
    u_NP = philox.uniform((0, 0), torch.arange(8), DRAWS, DRAWN).double()
    pictures = (draw(scenes_of(u_NP), TARGET_SIZE, DIFFICULTIES[version]) * 16).round().to(torch.uint8)
    return hashlib.sha256(u_NP.numpy().tobytes() + pictures.numpy().tobytes()).hexdigest()[:12]
