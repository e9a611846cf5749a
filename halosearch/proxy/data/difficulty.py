"""Named difficulties of the procedural scenes. A version is frozen: a harder or easier task gets a new name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes scenes harder: contour amplitude, noise deviation at 64 pixels, occluding bars, background strength."""

    amplitude: float
    noise: float
    bars: int
    background: float
    texture_contrast: float
    train_images: int


DIFFICULTIES = {
    "scenes-easy-1": Difficulty(
        amplitude=0.34, noise=0.02, bars=0, background=0.12, texture_contrast=0.9, train_images=20_000
    ),
    "scenes-1": Difficulty(
        amplitude=0.26, noise=0.05, bars=2, background=0.25, texture_contrast=0.7, train_images=50_000
    ),
}
