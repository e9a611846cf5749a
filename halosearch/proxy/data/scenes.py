"""Built-in data: procedural scenes, rendered at any image size, with one factor per dial that it is sensitive to.

shape    a closed contour R(t) = r (1 + a1 cos(n1 t + p1) + a2 cos(n2 t + p2)); class = (n1, n2): needs a view of the whole object
texture  stripes of log-spaced frequency inside the shape, with an analytic Gaussian prefilter: needs resolution
relation the colour of a second object, at a distance, is the first one's or not: needs a view that reaches

Nuisances: smooth background waves, bars that occlude, colours, and sensor noise whose deviation grows with image size, so
that a larger image does not average it away for free. Scene parameters come from a counter-based generator keyed by
(dataset seed, split, id), never by image size, batch or device.

Shape suffixes: N images, S pixels a side, P draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, Batch, BatchCache, DataReport, Dense, Factor
from halosearch.proxy.data.difficulty import DIFFICULTIES, Difficulty

CONTOURS = ((2, 5), (3, 5), (4, 7), (5, 7), (6, 9), (3, 8))
FREQUENCIES = tuple(4.0 * 2 ** (0.5 * i) for i in range(6))
"""Cycles per image side: 4 to 22.6. A 48-pixel image can carry at most 24."""
FACTORS = (Factor("shape", len(CONTOURS)), Factor("texture", len(FREQUENCIES)), Factor("relation", 2))
HELD_OUT_PER_TEST = 4
SPLITS = {TRAIN: 0, TEST: 1, HELD_OUT: 2}
DRAWS = 48
RENDER_BATCH = 64


class Scenes:
    """A `Dataset` of procedural scenes.

    Args:
        version: a key of `DIFFICULTIES`; frozen, a harder or easier task is another version.
        seed: keys every scene.
        test_images: images in the test split; the held-out split has four times as many.
    """

    factors: tuple[Factor, ...] = FACTORS
    dense: tuple[Dense, ...] = ()
    augmented = False

    def __init__(self, version: str, seed: int, test_images: int) -> None:
        """Nothing is rendered yet."""
        self.version, self.seed, self.difficulty = version, seed, DIFFICULTIES[version]
        self._sizes = {
            TRAIN: self.difficulty.train_images,
            TEST: test_images,
            HELD_OUT: HELD_OUT_PER_TEST * test_images,
        }
        self.report = DataReport(
            f"procedural scenes, version {version}, seed {seed} (synthetic)",
            dict(self._sizes),
            fingerprint=f"{golden_hash(version)}-{seed}",
        )
        self._cache = BatchCache()

    def size(self, split: str) -> int:
        """Images in a split."""
        return self._sizes[split]

    def batch(self, split: str, ids: np.ndarray, image_size: int, augment_key: tuple[int, int] | None) -> Batch:
        """Images (N, 3, S, S) uint8 and labels (N, 3). Scenes are fresh enough: they are not augmented."""
        del augment_key
        missing = [int(i) for i in dict.fromkeys(ids.tolist()) if self._cache.get(split, int(i), image_size) is None]
        made: dict[int, np.ndarray] = {}
        for start in range(0, len(missing), RENDER_BATCH):
            part = missing[start : start + RENDER_BATCH]
            for index, image in zip(part, self._render(split, part, image_size), strict=True):
                made[index] = image
                self._cache.put(split, index, image)
        images = [made[i] if i in made else self._cache.get(split, i, image_size) for i in map(int, ids)]
        stacked = torch.from_numpy(np.stack([image for image in images if image is not None]))
        chosen = torch.from_numpy(labels(draw_parameters(self.seed, split, ids)))
        return Batch(stacked, chosen, torch.zeros(len(ids), 0))

    def _render(self, split: str, ids: list[int], image_size: int) -> np.ndarray:
        draws_NP = draw_parameters(self.seed, split, np.array(ids))
        clean = render(draws_NP, image_size, self.difficulty)
        noise = np.stack(
            [
                _generator(self.seed, split, i, stream=1).standard_normal((3, image_size, image_size), dtype=np.float32)
                for i in ids
            ]
        )
        noisy = clean + torch.from_numpy(noise) * (self.difficulty.noise * image_size / 64)
        pixels: np.ndarray = to_uint8(noisy).numpy()
        return pixels


def _generator(seed: int, split: str, index: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, SPLITS[split]], counter=[0, 0, index, stream]))


def draw_parameters(seed: int, split: str, ids: np.ndarray) -> np.ndarray:
    """Uniform draws (N, P) in [0, 1) that fix everything about the scenes but their noise."""
    draws_NP: np.ndarray = np.stack([_generator(seed, split, int(i), stream=0).random(DRAWS) for i in ids])
    return draws_NP


def labels(draws_NP: np.ndarray) -> np.ndarray:
    """Class of every factor, (N, 3) int64: shape, texture, relation (1 = same colour)."""
    classes = np.array([factor.classes for factor in FACTORS])
    chosen_N3: np.ndarray = (draws_NP[:, :3] * classes).astype(np.int64)
    return chosen_N3


def to_uint8(images: Tensor) -> Tensor:
    """Round intensities in [0, 1] to bytes."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def render(draws_NP: np.ndarray, image_size: int, difficulty: Difficulty, dtype: torch.dtype = torch.float32) -> Tensor:
    """Noise-free intensities (N, 3, S, S), antialiased in closed form."""
    u = torch.from_numpy(draws_NP).to(dtype)[:, :, None, None]
    classes = torch.from_numpy(labels(draws_NP))
    centre = (torch.arange(image_size, dtype=dtype) + 0.5) / image_size
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    image = _background(u, x, y, difficulty.background)
    ink, other = _colours(u, classes[:, 2])
    main_x, main_y, far_x, far_y = _positions(u)
    mask = _contour(u, (x - main_x, y - main_y), classes[:, 0], difficulty.amplitude, image_size)
    stripes = _stripes(u, x, y, classes[:, 1], image_size)
    shade = (1 - difficulty.texture_contrast / 2) + difficulty.texture_contrast / 2 * stripes
    image = image * (1 - mask) + mask * ink * shade
    second = torch.sigmoid((0.09 - torch.hypot(x - far_x, y - far_y)) * image_size * 4)
    image = image * (1 - second) + second * other
    return _occlude(u, image, x, y, difficulty.bars, image_size)


def _background(u: Tensor, x: Tensor, y: Tensor, strength: float) -> Tensor:
    image = 0.35 + 0.3 * u[:, 9:12]
    for wave in range(2):
        first = 12 + 5 * wave
        angle, phase = 6.2832 * u[:, first : first + 1], 6.2832 * u[:, first + 1 : first + 2]
        cycles = 0.5 + 1.5 * u[:, first + 2 : first + 3]
        image = image + strength * (u[:, 22 + 3 * wave : 25 + 3 * wave] - 0.5) * torch.sin(
            6.2832 * cycles * (x * angle.cos() + y * angle.sin()) + phase
        )
    return image


def _colours(u: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Colour of the object and of its companion, (N, 3, 1, 1): equal hues where `same`, a third of the circle apart elsewhere."""
    hue = u[:, 28:29]
    turned = torch.where(same[:, None, None, None] == 1, hue, hue + 1 / 3 + u[:, 29:30] / 3)
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3], dtype=u.dtype)[None, :, None, None]
    return tuple(0.55 + 0.4 * torch.cos(6.2832 * (h + thirds)) for h in (hue, turned))  # type: ignore[return-value]


def _positions(u: Tensor) -> tuple[Tensor, ...]:
    """Centre of the object near the middle, and of its companion on a circle around it that stays inside the image."""
    main_x, main_y = 0.42 + 0.16 * u[:, 4:5], 0.42 + 0.16 * u[:, 5:6]
    angle, reach = 6.2832 * u[:, 6:7], 0.36 + 0.04 * u[:, 7:8]
    return (
        main_x,
        main_y,
        (main_x + reach * angle.cos()).clamp(0.1, 0.9),
        (main_y + reach * angle.sin()).clamp(0.1, 0.9),
    )


def _contour(u: Tensor, offset: tuple[Tensor, Tensor], shape: Tensor, amplitude: float, image_size: int) -> Tensor:
    (dx, dy), radius = offset, 0.24 + 0.05 * u[:, 8:9]
    numbers = torch.tensor(CONTOURS, dtype=u.dtype)[shape][:, :, None, None]
    theta, distance = torch.atan2(dy, dx), torch.hypot(dx, dy)
    wobble = torch.cos(numbers[:, 0:1] * theta + 6.2832 * u[:, 30:31]) + 0.5 * torch.cos(
        numbers[:, 1:2] * theta + 6.2832 * u[:, 31:32]
    )
    edge = radius * (1 + amplitude / 1.5 * wobble)
    return torch.sigmoid((edge - distance) * image_size * 4)


def _stripes(u: Tensor, x: Tensor, y: Tensor, texture: Tensor, image_size: int) -> Tensor:
    """A sinusoid under the Gaussian filter of half a pixel's deviation, which damps it by exp(-2 (pi f sigma)^2)."""
    frequency = torch.tensor(FREQUENCIES, dtype=u.dtype)[texture][:, None, None, None]
    damping = torch.exp(-2 * (torch.pi * frequency * 0.5 / image_size) ** 2)
    angle = 6.2832 * u[:, 32:33]
    return damping * torch.sin(6.2832 * (frequency * (x * angle.cos() + y * angle.sin()) + u[:, 33:34]))


def _occlude(u: Tensor, image: Tensor, x: Tensor, y: Tensor, bars: int, image_size: int) -> Tensor:
    for bar in range(bars):
        first = 34 + 6 * bar
        angle = 6.2832 * u[:, first : first + 1]
        across = (x - u[:, first + 1 : first + 2]) * angle.cos() + (y - u[:, first + 2 : first + 3]) * angle.sin()
        mask = torch.sigmoid((0.02 - across.abs()) * image_size * 4)
        image = image * (1 - mask) + mask * u[:, first + 3 : first + 6]
    return image


def golden_hash(version: str) -> str:
    """Twelve hexadecimal digits of eight scenes rendered in float64 at 32 pixels: changes when the version's task changes."""
    draws_NP = draw_parameters(0, TRAIN, np.arange(8))
    images = to_uint8(render(draws_NP, 32, DIFFICULTIES[version], torch.float64))
    return hashlib.sha256(images.numpy().tobytes() + labels(draws_NP).tobytes()).hexdigest()[:12]
