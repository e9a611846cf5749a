"""Named difficulties of the procedural scenes. A version is frozen: a harder or easier task gets a new name."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes scenes harder: contour amplitude, noise deviation at 64 pixels, occluding bars, background strength.

    `drawing`: 1 for scenes with labels only, 2 for those with dense targets, which other code draws from other random numbers.
    """

    amplitude: float
    noise: float
    bars: int
    background: float
    texture_contrast: float
    train_images: int
    drawing: int = 1


EASY = Difficulty(amplitude=0.34, noise=0.02, bars=0, background=0.12, texture_contrast=0.9, train_images=20_000)
HARD = Difficulty(amplitude=0.26, noise=0.05, bars=2, background=0.25, texture_contrast=0.7, train_images=50_000)
DIFFICULTIES = {
    "scenes-easy-1": EASY,
    "scenes-1": HARD,
    "scenes-easy-2": replace(EASY, drawing=2),
    "scenes-2": replace(HARD, drawing=2, train_images=300_000),
}
