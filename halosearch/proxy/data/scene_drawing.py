"""Procedural scenes of the second version: what is in one, and how it is drawn, in batches on any device.

A scene is a closed contour filled with stripes, a companion at a distance whose colour is the contour's own or not, smooth background
waves, and bars that occlude. Its numbers are exact on every device (`philox`), its pixels are floating point.

Shape suffixes: N images, S pixels a side, P draws, C colours, A angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from halosearch.proxy.data.dataset import Factor
from halosearch.proxy.data.difficulty import Difficulty

TURN = 6.283185307179586
CONTOURS = ((2, 5), (3, 5), (4, 7), (5, 7), (6, 9), (3, 8))
"""Waves (n1, n2) of a contour R(t) = r (1 + a (cos(n1 t + p1) + cos(n2 t + p2) / 2)), by class of shape."""
FREQUENCIES = tuple(4.0 * 2 ** (0.5 * i) for i in range(6))
"""Cycles per image side, by class of texture: 4 to 22.6. A 48-pixel image can carry at most 24."""
FACTORS = (Factor("shape", len(CONTOURS)), Factor("texture", len(FREQUENCIES)), Factor("relation", 2))
DRAWS = 52
WAVES, BARS = 2, 2
COMPANION_RADIUS = 0.09
BAR_HALF_WIDTH = 0.02


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes but for their noise. Positions and lengths are shares of the image's side, angles in radians.

    Columns of `waves` (N, 2, 6): direction, phase, cycles, tint; of `bars` (N, 2, 6): direction, x, y, colour.
    """

    classes_N3: Tensor
    base_NC: Tensor
    ink_NC: Tensor
    companion_NC: Tensor
    centre_N2: Tensor
    far_N2: Tensor
    radius_N: Tensor
    turns_N2: Tensor
    direction_N: Tensor
    phase_N: Tensor
    waves: Tensor
    bars: Tensor


@lru_cache(maxsize=32)
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """A table on a device, sent there once: a GPU would be waited for at every drawing."""
    return torch.tensor(values, device=device)


def scenes_of(u_NP: Tensor) -> Scenes:
    """The scenes that uniform draws stand for."""
    counts = constant(tuple(factor.classes for factor in FACTORS), u_NP.device)
    classes_N3 = (u_NP[:, :3] * counts).long()
    hue, other = u_NP[:, 3], u_NP[:, 3] + 1 / 3 + u_NP[:, 4] / 3
    way, reach = TURN * u_NP[:, 5], 0.36 + 0.04 * u_NP[:, 6]
    centre_N2 = 0.42 + 0.16 * u_NP[:, 7:9]
    far_N2 = centre_N2 + reach[:, None] * torch.stack((way.cos(), way.sin()), 1)
    return Scenes(
        classes_N3,
        base_NC=0.35 + 0.3 * u_NP[:, 9:12],
        ink_NC=_colour(hue),
        companion_NC=_colour(torch.where(classes_N3[:, 2] == 1, hue, other)),
        centre_N2=centre_N2,
        far_N2=far_N2.clamp(0.1, 0.9),
        radius_N=0.24 + 0.05 * u_NP[:, 12],
        turns_N2=TURN * u_NP[:, 13:15],
        direction_N=TURN * u_NP[:, 15],
        phase_N=TURN * u_NP[:, 16],
        waves=u_NP[:, 17:29].unflatten(1, (WAVES, 6)),
        bars=u_NP[:, 29:41].unflatten(1, (BARS, 6)),
    )


def _colour(hue_N: Tensor) -> Tensor:
    thirds_C = constant((0.0, 1 / 3, 2 / 3), hue_N.device)
    return 0.55 + 0.4 * torch.cos(TURN * (hue_N[:, None] + thirds_C))


def draw(scenes: Scenes, size: int, difficulty: Difficulty) -> Tensor:
    """Noise-free intensities (N, 3, S, S), antialiased in closed form."""
    x, y = grid(size, scenes.base_NC)
    image = scenes.base_NC[:, :, None, None]
    for wave_N6 in scenes.waves.unbind(1):
        direction, phase, cycles = TURN * wave_N6[:, 0], TURN * wave_N6[:, 1], 0.5 + 1.5 * wave_N6[:, 2]
        ripple_NSS = _ripple(x, y, direction, TURN * cycles, phase)
        image = image + difficulty.background * (wave_N6[:, 3:] - 0.5)[:, :, None, None] * ripple_NSS[:, None]
    ink = scenes.ink_NC[:, :, None, None] * _shade(scenes, x, y, size, difficulty)[:, None]
    image = torch.lerp(image, ink, object_mask(scenes, size, difficulty)[:, None])
    image = torch.lerp(image, scenes.companion_NC[:, :, None, None], companion_mask(scenes, size)[:, None])
    for bar_N6 in scenes.bars.unbind(1)[: difficulty.bars]:
        direction = TURN * bar_N6[:, 0]
        across = (x - _at(bar_N6[:, 1])) * _at(direction.cos()) + (y - _at(bar_N6[:, 2])) * _at(direction.sin())
        image = torch.lerp(image, bar_N6[:, 3:, None, None], _edge(BAR_HALF_WIDTH - across.abs(), size)[:, None])
    return image


def grid(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres (S, S) on the device of another tensor: x grows to the right, y downwards, both from 0 to 1."""
    centre_S = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    y, x = torch.meshgrid(centre_S, centre_S, indexing="ij")
    return x, y


def object_mask(scenes: Scenes, size: int, difficulty: Difficulty) -> Tensor:
    """How much of every pixel the object covers, (N, S, S)."""
    x, y = grid(size, scenes.base_NC)
    dx, dy = x - _at(scenes.centre_N2[:, 0]), y - _at(scenes.centre_N2[:, 1])
    wobble_NSS = contour(scenes, torch.atan2(dy, dx).flatten(1)).view_as(dx)
    return _edge(_at(scenes.radius_N) * (1 + difficulty.amplitude / 1.5 * wobble_NSS) - torch.hypot(dx, dy), size)


def companion_mask(scenes: Scenes, size: int) -> Tensor:
    """How much of every pixel the companion covers, (N, S, S)."""
    x, y = grid(size, scenes.base_NC)
    return _edge(COMPANION_RADIUS - torch.hypot(x - _at(scenes.far_N2[:, 0]), y - _at(scenes.far_N2[:, 1])), size)


def contour(scenes: Scenes, angle_NA: Tensor) -> Tensor:
    """The contour's two waves at angles, (N, A), from -1.5 to 1.5."""
    numbers_N2 = constant(CONTOURS, angle_NA.device).float()[scenes.classes_N3[:, 0]]
    first, second = (torch.cos(numbers_N2[:, i, None] * angle_NA + scenes.turns_N2[:, i, None]) for i in range(2))
    return first + 0.5 * second


def _shade(scenes: Scenes, x: Tensor, y: Tensor, size: int, difficulty: Difficulty) -> Tensor:
    """Stripes under the Gaussian filter of half a pixel's deviation, which damps them by exp(-2 (pi f sigma)^2)."""
    frequency_N = constant(FREQUENCIES, x.device)[scenes.classes_N3[:, 1]]
    damping_N = torch.exp(-2 * (torch.pi * frequency_N * 0.5 / size) ** 2)
    stripes = _ripple(x, y, scenes.direction_N, TURN * frequency_N, scenes.phase_N)
    half = difficulty.texture_contrast / 2
    return 1 - half + half * _at(damping_N) * stripes


def _ripple(x: Tensor, y: Tensor, direction_N: Tensor, number_N: Tensor, phase_N: Tensor) -> Tensor:
    across = x * _at(number_N * direction_N.cos()) + y * _at(number_N * direction_N.sin())
    return torch.sin(across + _at(phase_N))


def _edge(inside: Tensor, size: int) -> Tensor:
    return torch.sigmoid(inside * (4 * size))


def _at(values_N: Tensor) -> Tensor:
    return values_N[:, None, None]
