"""Layers of a ResNet with their costs, in closed form. ResNet-50 has 25,557,032 parameters (PyTorch's and timm's own count)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halosearch.families.layers import IMAGENET_CLASSES, Layer, conv, up, with_bias
from halosearch.families.resnet.config import EXPANSION, STAGES, ResNetConfig, squeezed


def layers(config: ResNetConfig, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Every layer, in order; equal blocks of a stage are told once."""
    side, channels = up(config.image_size, 2), config.base_width
    yield conv("stem", "conv7x7", 1, side, 147, channels)
    side = up(side, 2)
    for stage in range(STAGES):
        stride = 2 if stage else 1
        yield from _block(config, f"stages.{stage}.0", stage, side, channels)
        side, channels = up(side, stride), EXPANSION * config.width(stage)
        if config.depths[stage] > 1:
            yield from _block(config, f"stages.{stage}.rest", stage, side, None)
    yield with_bias("head", "classifier", 1, channels, classes)


def _block(config: ResNetConfig, block: str, stage: int, side: int, entry: int | None) -> Iterator[Layer]:
    """1x1, 3x3 (with the stride), 1x1; `entry`: channels that enter a stage's first block, None for the later ones."""
    width, out_channels = config.width(stage), EXPANSION * config.width(stage)
    repeat = 1 if entry is not None else config.depths[stage] - 1
    out = up(side, 2 if stage and entry is not None else 1)
    channels = out_channels if entry is None else entry
    yield conv(block, "reduce", repeat, side, channels, width)
    yield conv(block, "conv3x3", repeat, out, 9 * width, width)
    yield conv(block, "expand", repeat, out, width, out_channels)
    if config.squeeze_excite:
        yield with_bias(block, "squeeze", repeat, out_channels, squeezed(out_channels))
        yield with_bias(block, "excite", repeat, squeezed(out_channels), out_channels)
    if entry is not None and (channels != out_channels or out != side):
        yield conv(block, "shortcut", repeat, out, channels, out_channels)


def stages(config: ResNetConfig) -> list[dict[str, Any]]:
    """The four stages as a table: blocks, side of the map, bottleneck width, channels given out."""
    rows, side = [], up(config.image_size, 4)
    for stage in range(STAGES):
        side = up(side, 2) if stage else side
        width = config.width(stage)
        rows.append(
            {
                "stage": stage + 1,
                "blocks": config.depths[stage],
                "side": side,
                "width": width,
                "channels": EXPANSION * width,
            }
        )
    return rows
