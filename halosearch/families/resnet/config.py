"""One ResNet with bottleneck blocks written down: `ResNetConfig`, frozen and born valid (arXiv:1512.03385, table 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from halosearch.errors import UsageError
from halosearch.families.layers import RELU, SILU

STAGES, EXPANSION = 4, 4
SE_RATIO = 16
"""Squeeze-excite reduces a block's output by 16 (arXiv:1709.01507)."""


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Depths of the four stages and an image size; `squeeze_excite` and `activation` are components that the HaloNet paper compares.

    `base_width`: bottleneck channels of the first stage, and the stem's; every later stage has twice as many.

    Raises:
        UsageError: a value is out of its domain.
    """

    depths: tuple[int, int, int, int]
    image_size: int = 224
    squeeze_excite: bool = False
    activation: str = RELU
    base_width: int = 64

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if len(self.depths) != STAGES or min(self.depths) < 1:
            raise UsageError(f"stage depths {self.depths} are not four positive numbers", "depths=3-4-6-3")
        if self.image_size < 32:
            raise UsageError(f"image size {self.image_size} is below 32", "s=224")
        if self.activation not in (RELU, SILU):
            raise UsageError(f"unknown activation {self.activation!r}", f"it is one of {RELU}, {SILU}")
        if self.base_width < 4:
            raise UsageError(f"base width {self.base_width} is below 4", "w=64")

    def width(self, stage: int) -> int:
        """Bottleneck channels of stage 0..3."""
        return self.base_width << stage


def squeezed(channels: int) -> int:
    """Width of the squeeze of a block with `channels` output channels."""
    return max(1, channels // SE_RATIO)


def twin_of(config: ResNetConfig, width_multiplier: float) -> ResNetConfig:
    """Every width x `width_multiplier`; depths and image size unchanged."""
    return replace(config, base_width=max(4, round(config.base_width * width_multiplier)))
