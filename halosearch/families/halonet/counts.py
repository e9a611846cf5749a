"""Parameters, MACs and activations in closed form, for one candidate or a million at once.

Convention. Parameters: every learnable number, with a classifier of `classes` outputs. MACs: one image, one forward pass,
a multiply-add as one, on the `reference` network: convolutions, q/k/v projections, QK' and AV over whole windows on padded
maps, relative logits (2 x window per query and channel of q), squeeze-excite, classifier; not batch norm, activations,
softmax, pooling, additions. A block larger than a map works as one block of that map's side. Activations: output elements
of convolutions and linear layers, and of AV. Published parameter counts: arXiv:2103.12731, table 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from halosearch.families.halonet.config import ATTENTION, SE_RATIO, HaloNetConfig
from halosearch.families.halonet.variant import ABSOLUTE, AS_PUBLISHED, POOLED, RELATIVE, Variant
from halosearch.families.layers import IMAGENET_CLASSES, Cost, Count, Layer, conv, linear, up, with_bias
from halosearch.families.layers import total as summed


@dataclass(frozen=True, slots=True)
class Dials:
    """The numbers that counts depend on, as ints or as int64 arrays (rows,); stage kinds are shared by all rows.

    `ratios` of query, value and expansion are floats; `final_width` 0 is none; heads are per stage.
    """

    image_size: Count
    block_size: Count
    halo_size: Count
    query_ratio: Any
    value_ratio: Any
    expansion_ratio: Any
    depths: tuple[Count, Count, Count, Count]
    final_width: Count
    heads: tuple[Count, Count, Count, Count]
    kinds: tuple[str, str, str, str]
    base_width: int = 64
    variant: Variant = AS_PUBLISHED


def _whole(value: Any) -> Count:
    return value.astype(np.int64) if isinstance(value, np.ndarray) else int(value)


def _attention(d: Dials, block: str, stage: int, repeat: Count, side: Count, stride: int) -> Iterator[Layer]:
    """Projections and attention of a layer that reads a map of `side` and gives out one of side/stride (before any pooling)."""
    width = d.base_width * 2**stage
    keys, values = _whole(d.query_ratio * width), _whole(d.value_ratio * width)
    out = up(side, stride)
    yield linear(block, "query", repeat, out * out, width, keys)
    yield linear(block, "key_value", repeat, side * side, width, keys + values)
    tile = np.minimum(d.block_size, side) if isinstance(side, np.ndarray) else min(d.block_size, side)
    window = tile + 2 * d.halo_size
    queries = (up(side, tile) * up(tile, stride)) ** 2
    if d.variant.positions == RELATIVE:
        table = 2 * (2 * (d.block_size + 2 * d.halo_size) - 1) * (keys // d.heads[stage])
        yield Layer(block, "relative", "matmul", repeat, out, keys, Cost(table, queries * 2 * window * keys, 0))
    elif d.variant.positions == ABSOLUTE:
        yield Layer(block, "absolute", "linear", repeat, side, width, Cost(2 * side * width, 0, 0))
    yield Layer(block, "scores", "matmul", repeat, out, keys, Cost(0, queries * window * window * keys, 0))
    yield Layer(
        block,
        "attend",
        "matmul",
        repeat,
        out,
        values,
        Cost(2 * values, queries * window * window * values, queries * values),
    )


def _spatial(d: Dials, block: str, stage: int, repeat: Count, side: Count, stride: int) -> Iterator[Layer]:
    """The layer between the two 1x1 convolutions: attention, or 3x3 and squeeze-excite."""
    width = d.base_width * 2**stage
    if d.kinds[stage] == ATTENTION:
        yield from _attention(d, block, stage, repeat, side, 1 if d.variant.downsampling == POOLED else stride)
        if d.variant.squeeze_excite:
            yield from _gate(block, repeat, _whole(d.value_ratio * width))
        return
    yield conv(block, "conv3x3", repeat, up(side, stride), 9 * width, width)
    yield from _gate(block, repeat, width)


def _gate(block: str, repeat: Count, width: Count) -> Iterator[Layer]:
    """Squeeze-excite of a map of `width` channels."""
    squeezed = np.maximum(1, width // SE_RATIO) if isinstance(width, np.ndarray) else max(1, width // SE_RATIO)
    yield with_bias(block, "squeeze", repeat, width, squeezed)
    yield with_bias(block, "excite", repeat, squeezed, width)


def _block(d: Dials, block: str, stage: int, repeat: Count, side: Count, entry: Count | None) -> Iterator[Layer]:
    """A bottleneck block; `entry` is the channels of the stage's first block's input, None for the later blocks."""
    width = d.base_width * 2**stage
    expanded = _whole(d.expansion_ratio * width)
    stride = 2 if entry is not None and stage > 0 else 1
    channels = expanded if entry is None else entry
    out = up(side, stride)
    yield conv(block, "reduce", repeat, side, channels, width)
    yield from _spatial(d, block, stage, repeat, side, stride)
    inner = _whole(d.value_ratio * width) if d.kinds[stage] == ATTENTION else width
    yield conv(block, "expand", repeat, out, inner, expanded)
    if entry is not None:
        projected = (channels != expanded) | (stride != 1)
        yield conv(block, "shortcut", repeat * projected, out, channels, expanded)


def layers(d: Dials, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Every layer of the network(s), in order; layers with `repeat` 0 are absent."""
    side = up(d.image_size, 2)
    yield conv("stem", "conv7x7", 1, side, 147, d.base_width)
    side = up(side, 2)
    channels: Count = d.base_width
    for stage in range(4):
        name = f"stages.{stage}"
        yield from _block(d, f"{name}.0", stage, 1, side, channels)
        side = up(side, 2) if stage else side
        yield from _block(d, f"{name}.rest", stage, d.depths[stage] - 1, side, None)
        channels = _whole(d.expansion_ratio * d.base_width * 2**stage)
    has_final = (d.final_width > 0) * 1
    yield conv("final", "final", has_final, side, channels, d.final_width)
    head = d.final_width + (1 - has_final) * channels
    yield with_bias("head", "classifier", 1, head, classes)


def total(d: Dials, classes: int = IMAGENET_CLASSES) -> Cost:
    """Sum over all layers; int64 arrays where the dials are arrays."""
    return summed(layers(d, classes))


def dials_of(config: HaloNetConfig) -> Dials:
    """The numbers of one (canonical) network."""
    c = config.canonical()
    return Dials(
        c.image_size,
        c.block_size,
        c.halo_size,
        c.query_ratio,
        c.value_ratio,
        c.expansion_ratio,
        c.stage_depths,
        c.final_width or 0,
        c.heads,
        c.stage_kinds,
        c.base_width,
        c.variant,
    )


def count(config: HaloNetConfig, classes: int = IMAGENET_CLASSES) -> Cost:
    """Exact cost of one network as Python ints."""
    cost = total(dials_of(config), classes)
    return Cost(int(cost.params), int(cost.macs), int(cost.activations))


def stages(config: HaloNetConfig) -> list[dict[str, Any]]:
    """The four stages as a table: kind, blocks, side of the map, bottleneck width, channels given out, heads."""
    return [
        {
            "stage": i + 1,
            "kind": config.stage_kinds[i],
            "blocks": config.stage_depths[i],
            "side": side,
            "width": config.stage_width(i),
            "channels": int(config.expansion_ratio * config.stage_width(i)),
            "heads": config.heads[i],
        }
        for i, side in enumerate(config.stage_sides())
    ]
