"""Layers of an EfficientNet with their costs, in closed form. Published parameter counts: arXiv:1905.11946 and its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halosearch.families.efficientnet.config import EfficientNetConfig, Stage, squeezed
from halosearch.families.layers import IMAGENET_CLASSES, Layer, conv, up, with_bias


def layers(config: EfficientNetConfig, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Every layer, in order; equal blocks of a stage are told once."""
    side, channels = up(config.image_size, 2), config.stem_width
    yield conv("stem", "conv3x3", 1, side, 27, channels)
    for index, stage in enumerate(config.stages()):
        yield from _block(f"stages.{index}.0", stage, 1, side, channels, stage.stride)
        side, channels = up(side, stage.stride), stage.width
        if stage.depth > 1:
            yield from _block(f"stages.{index}.rest", stage, stage.depth - 1, side, channels, 1)
    yield conv("final", "final", 1, side, channels, config.final_width)
    yield with_bias("head", "classifier", 1, config.final_width, classes)


def _block(block: str, stage: Stage, repeat: int, side: int, channels: int, stride: int) -> Iterator[Layer]:
    """An inverted bottleneck: expand (where it expands), depthwise, squeeze-excite, project."""
    inner, out = stage.expansion * channels, up(side, stride)
    if stage.expansion > 1:
        yield conv(block, "expand", repeat, side, channels, inner)
    yield conv(block, "depthwise", repeat, out, stage.kernel**2, inner)
    yield with_bias(block, "squeeze", repeat, inner, squeezed(channels))
    yield with_bias(block, "excite", repeat, squeezed(channels), inner)
    yield conv(block, "project", repeat, out, inner, stage.width)


def stages(config: EfficientNetConfig) -> list[dict[str, Any]]:
    """The seven stages as a table: expansion, kernel, blocks, side of the map, channels given out."""
    rows, side = [], up(config.image_size, 2)
    for index, stage in enumerate(config.stages(), 1):
        side = up(side, stage.stride)
        rows.append(
            {
                "stage": index,
                "expansion": stage.expansion,
                "kernel": stage.kernel,
                "blocks": stage.depth,
                "side": side,
                "channels": stage.width,
            }
        )
    return rows
