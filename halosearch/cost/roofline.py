"""How long a step must take at least: floating-point work and memory traffic, kernel by kernel, for one network or a million.

A kernel costs max(FLOPs / peak, bytes / bandwidth) and a step is the sum over its kernels: nothing is assumed to overlap.
What is modelled is the practical floor: library convolutions, batch norm as a pass for statistics and one to apply it (and
as many back), attention fused so that each tensor moves once and padded keys cost nothing, an optimiser in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from halosearch.families.halonet.config import ATTENTION
from halosearch.families.halonet.counts import Dials, layers
from halosearch.families.halonet.variant import POOLED
from halosearch.families.layers import Count, Layer, up

OPTIMISER_BYTES, HALF_COPY_BYTES = 20, 6
"""Per parameter and step: weight, gradient and momentum read, two written (float32); a copy in half precision made."""
HALF, FLOAT = 2, 4
"""Bytes of an element."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """`repeat` equal kernels of a class in a part of the network: FLOPs and bytes of each, for the whole batch.

    Parts are the stem, the first block of a stage and each of its others (`stages.2.0`, `stages.2.rest`), and the head.
    `scores` are products of a query and a key, over all heads and images.
    """

    part: str
    family: str
    repeat: Count
    flops: Count
    bytes: Count
    scores: Count = 0


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device reaches: FLOP/s of a large matrix product, bytes/s of a copy (read and written bytes together)."""

    flops: float
    bandwidth: float

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"flops_per_s": self.flops, "bytes_per_s": self.bandwidth}


@dataclass(frozen=True, slots=True)
class Setting:
    """Images of a step, training step or forward only, bytes of an element."""

    batch: int
    train: bool
    element: int


def kernels(d: Dials, setting: Setting, classes: int = 1000) -> Iterator[Kernel]:
    """Every kernel of a step."""
    bytes_per_param = OPTIMISER_BYTES + (HALF_COPY_BYTES if setting.element == HALF else 0)
    for layer in layers(d, classes):
        part = "head" if layer.block == "final" else layer.block
        if layer.operator in ("conv", "linear"):
            yield from _product(part, layer, setting)
        if layer.operator == "conv":
            yield from _norm(part, layer, setting)
        if setting.train:
            yield Kernel(part, "optimiser", layer.repeat, 0, bytes_per_param * layer.cost.params)
    for stage in range(4):
        if d.kinds[stage] == ATTENTION:
            yield from _attention_stage(d, stage, setting)


def _product(part: str, layer: Layer, setting: Setting) -> Iterator[Kernel]:
    """Forward, and the gradients of the input (not for the stem's images) and of the weights."""
    family = {"conv7x7": "stem", "conv3x3": "conv3x3"}.get(layer.name, "conv1x1")
    macs = setting.batch * layer.cost.macs
    out = setting.batch * layer.cost.activations
    kernel_area = {"conv7x7": 49 / 4, "conv3x3": 9}.get(layer.name, 1)
    read = macs / np.maximum(layer.channels, 1) / kernel_area
    if layer.name == "query" and (part.endswith("rest") or part == "stages.0.0"):
        read = 0  # without a stride, queries come from the projection that reads the map for keys and values
    weights = layer.cost.params
    traffic = setting.element * (out + read + weights)
    yield Kernel(part, family, layer.repeat, 2 * macs, traffic)
    if setting.train:
        if layer.name != "conv7x7":
            yield Kernel(part, family, layer.repeat, 2 * macs, traffic)
        yield Kernel(part, family, layer.repeat, 2 * macs, traffic + setting.element * weights)


def _norm(part: str, layer: Layer, setting: Setting, elements: Count = None) -> Iterator[Kernel]:
    """Batch norm with its activation: statistics and apply, and back the sums and apply; forward only: one pass."""
    size = setting.element * setting.batch * (layer.cost.activations if elements is None else elements)
    joins = layer.name == "expand"  # the shortcut is read, too, and gets its gradient
    for passes in (1, 2 + joins, 2, 3 + joins) if setting.train else (2 + joins,):
        yield Kernel(part, "norm", layer.repeat, 0, passes * size)


def _attention_stage(d: Dials, stage: int, setting: Setting) -> Iterator[Kernel]:
    """The attention kernels and the norms behind them, of the strided first layer and of the others."""
    side = up(d.image_size, 4 << max(stage - 1, 0))
    yield from _attention(d, stage, f"stages.{stage}.0", side, 1, setting)
    yield from _attention(
        d, stage, f"stages.{stage}.rest", up(side, 2) if stage else side, d.depths[stage] - 1, setting
    )


def _attention(d: Dials, stage: int, part: str, side: Count, repeat: Count, setting: Setting) -> Iterator[Kernel]:
    stride = 2 if stage and part.endswith(".0") and d.variant.downsampling != POOLED else 1
    width = d.base_width << stage
    keys, values = _channels(d.query_ratio, width), _channels(d.value_ratio, width)
    out = up(side, stride)
    pairs = setting.batch * pairs_seen(side, d.block_size, d.halo_size, stride) ** 2
    relative = 2 * 2 * (2 * (d.block_size + 2 * d.halo_size) - 1) * setting.batch * out**2 * keys
    queries_and_out, keys_and_values = out**2 * (keys + values), side**2 * (keys + values)
    moved = setting.element * setting.batch * (queries_and_out + keys_and_values)
    scores = pairs * d.heads[stage]
    yield Kernel(part, "attention", repeat, 2 * pairs * (keys + values) + relative, moved, scores)
    if setting.train:
        yield Kernel(part, "attention", repeat, 2 * pairs * (3 * keys + 2 * values) + 2 * relative, 2 * moved, scores)
    layer = Layer("", "attention", "", repeat, out, values, None)  # type: ignore[arg-type]
    yield from _norm(part, layer, setting, out**2 * values)


def _channels(ratio: Any, width: int) -> Count:
    scaled = ratio * width
    return scaled.astype(np.int64) if isinstance(scaled, np.ndarray) else int(scaled)


def pairs_seen(side: Count, block_size: Count, halo_size: Count, stride: int) -> Count:
    """Pairs of a query and a key inside the map along one axis (their square is a head's scores for an image)."""
    tile = np.minimum(block_size, side)
    total: Count = 0
    for block in range(int(np.max(up(side, tile)))):
        first, last = np.minimum(block * tile, side), np.minimum((block + 1) * tile, side)
        queries = up(last, stride) - up(first, stride)
        seen = np.minimum(last + halo_size, side) - np.maximum(first - halo_size, 0)
        # a last block that hangs over the map still looks its whole halo ahead, where there is nothing
        total = total + queries * np.maximum(seen, 0)
    return total


def floor_s(d: Dials, setting: Setting, peaks: Peaks) -> Count:
    """Seconds below which a step of these kernels cannot fall on a device of these peaks."""
    return sum(
        each.repeat * np.maximum(each.flops / peaks.flops, each.bytes / peaks.bandwidth) for each in kernels(d, setting)
    )
