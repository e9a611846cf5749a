"""What layers of a network cost, for one network or a million at once.

Parameters: every learnable number. MACs: one image, one forward pass, a multiply-add as one. Activations: output elements of
convolutions and linear layers (and of attention's weighted sum).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

IMAGENET_CLASSES = 1000
SILU, RELU = "silu", "relu"
"""Names of activations."""

Count = Any
"""An int for one candidate, an int64 array (rows,) for many."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters; multiply-accumulates and activation elements per image."""

    params: Count
    macs: Count
    activations: Count


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, or `repeat` equal ones: cost of each, and the operator that its MACs belong to."""

    block: str
    name: str
    operator: str
    repeat: Count
    side: Count
    channels: Count
    cost: Cost


def up(value: Count, unit: Count) -> Count:
    """Division rounded up."""
    return -(-value // unit)


def conv(block: str, name: str, repeat: Count, side: Count, fan_in: Count, width: Count) -> Layer:
    """A convolution without bias (fan_in = its kernel x input channels of a group), with batch norm's two vectors."""
    out = side * side * width
    return Layer(block, name, "conv", repeat, side, width, Cost((fan_in + 2) * width, out * fan_in, out))


def linear(block: str, name: str, repeat: Count, positions: Count, fan_in: Count, width: Count) -> Layer:
    """A linear layer without bias, on every position."""
    out = positions * width
    return Layer(block, name, "linear", repeat, 1, width, Cost(fan_in * width, out * fan_in, out))


def with_bias(block: str, name: str, repeat: Count, fan_in: Count, width: Count) -> Layer:
    """A linear layer with bias, once for each image."""
    return Layer(block, name, "linear", repeat, 1, width, Cost((fan_in + 1) * width, width * fan_in, width))


def total(layers: Iterable[Layer]) -> Cost:
    """Sum over layers; int64 arrays where their costs are arrays."""
    params: Count = 0
    macs: Count = 0
    activations: Count = 0
    for layer in layers:
        params = params + layer.repeat * layer.cost.params
        macs = macs + layer.repeat * layer.cost.macs
        activations = activations + layer.repeat * layer.cost.activations
    return Cost(params, macs, activations)
