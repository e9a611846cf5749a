"""What a proxy's network is trained for and scored by: class labels by factor, and dense targets by group.

Every part is divided by what a network scores that knows nothing of the picture: cross-entropy by ln(classes), the squared error of
targets of deviation 1 by 1. So 1 is chance and 0 perfect, and parts can be averaged.

Shape suffixes: N images, P parts.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from halosearch.proxy.data.dataset import Dataset, Factor

LOSS_SCALE = 3.0
"""Of the mean over parts: gradients are then about as large as those of three factors summed."""


def part_names(data: Dataset) -> list[str]:
    """The parts in their order: factors, then dense groups."""
    return [*(factor.name for factor in data.factors), *(group.name for group in data.dense)]


def split_logits(outputs: Tensor, factors: tuple[Factor, ...]) -> tuple[Tensor, ...]:
    """One (N, classes) block per factor; what follows them is left out."""
    widths = [factor.classes for factor in factors]
    return tuple(outputs[:, : sum(widths)].split(widths, 1))


def part_losses(outputs: Tensor, labels: Tensor, dense: Tensor, data: Dataset, smoothing: float = 0.0) -> Tensor:
    """Loss of every image in every part, (N, P), as a share of that of a network that knows nothing."""
    blocks = split_logits(outputs, data.factors)
    parts = [
        F.cross_entropy(block, labels[:, i], label_smoothing=smoothing, reduction="none") / math.log(factor.classes)
        for i, (block, factor) in enumerate(zip(blocks, data.factors, strict=True))
    ]
    if data.dense:
        widths = [group.width for group in data.dense]
        found = outputs[:, -sum(widths) :].split(widths, 1)
        parts += [(a - b).square().mean(1) for a, b in zip(found, dense.split(widths, 1), strict=True)]
    return torch.stack(parts, 1)


def training_loss(outputs: Tensor, labels: Tensor, dense: Tensor, data: Dataset, smoothing: float) -> Tensor:
    """What is minimised: with dense targets the scaled mean over parts, with labels only their cross-entropy in nats, summed."""
    if data.dense:
        return LOSS_SCALE * part_losses(outputs, labels, dense, data, smoothing).mean()
    blocks = split_logits(outputs, data.factors)
    return torch.stack(
        [F.cross_entropy(block, labels[:, i], label_smoothing=smoothing) for i, block in enumerate(blocks)]
    ).sum()
