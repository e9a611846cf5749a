"""One EfficientNet written down: `EfficientNetConfig`, frozen and born valid (arXiv:1905.11946, table 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from halosearch.errors import UsageError

DIVISOR = 8
"""Scaled widths are rounded to a multiple of 8, and up where rounding would take more than a tenth."""
SE_SHARE = 4
"""Squeeze-excite reduces to a quarter of the channels that enter the block."""
LEAST_WIDTH = 4
"""Channels that a narrow twin keeps at least."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A row of the paper's table 1: expansion of the block, kernel, stride of the first block, channels, blocks."""

    expansion: int
    kernel: int
    stride: int
    width: int
    depth: int


B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM, FINAL = 32, 1280


@dataclass(frozen=True, slots=True)
class EfficientNetConfig:
    """A member of the EfficientNet family: B0 with its widths and depths multiplied, at an image size.

    `narrowed`: share of the channels that a proxy's twin keeps of every layer, after the paper's rounding (1: the network itself).

    Raises:
        UsageError: a factor or the image size is out of its domain.
    """

    width: float
    depth: float
    image_size: int
    narrowed: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, value, short in (("width", self.width, "w"), ("depth", self.depth, "d")):
            if not 0.1 <= value <= 20:
                raise UsageError(f"{name} coefficient {value:g} is not between 0.1 and 20", f"for example {short}=1.2")
        if self.image_size < 32:
            raise UsageError(f"image size {self.image_size} is below 32", "s=224")
        if not 0 < self.narrowed <= 1:
            raise UsageError(f"share of the width {self.narrowed:g} is not between 0 and 1", "for example 0.25")

    def stages(self) -> tuple[Stage, ...]:
        """The stages as they are built."""
        return tuple(
            replace(stage, width=self.channels(stage.width), depth=math.ceil(self.depth * stage.depth)) for stage in B0
        )

    @property
    def stem_width(self) -> int:
        """Channels of the stem."""
        return self.channels(STEM)

    @property
    def final_width(self) -> int:
        """Channels of the last 1x1 convolution."""
        return self.channels(FINAL)

    def channels(self, of_b0: int) -> int:
        """Channels of a layer that has so many in B0."""
        wanted = of_b0 * self.width
        rounded = max(DIVISOR, int(wanted + DIVISOR / 2) // DIVISOR * DIVISOR)
        if rounded < 0.9 * wanted:
            rounded += DIVISOR
        return rounded if self.narrowed == 1 else max(LEAST_WIDTH, round(rounded * self.narrowed))


def squeezed(channels: int) -> int:
    """Width of the squeeze of a block that `channels` channels enter."""
    return max(1, channels // SE_SHARE)


def twin_of(config: EfficientNetConfig, width_multiplier: float) -> EfficientNetConfig:
    """Every width x `width_multiplier`; depths and image size unchanged."""
    return replace(config, narrowed=config.narrowed * width_multiplier)
