"""Scores on the fixed test set, per factor and per group of dense targets.

score = 1 - mean over these parts of their loss, as a share of that of a network that knows nothing (see `objective`): of labels the
share of their entropy that the network explains, of dense targets the share of their variance. 0 is ignorance, 1 perfection; worse
than ignorance is negative.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.proxy.data.dataset import Dataset, Factor
from halosearch.proxy.objective import part_names, split_logits

EVALUATION_BATCH, GPU_EVALUATION_BATCH = 128, 512
"""Images scored at once; more on a GPU, which Python cannot keep busy with few."""


@dataclass(frozen=True, slots=True)
class Score:
    """Result of one evaluation on `images` images: cross-entropy in nats and accuracy by factor, joint accuracy.

    `chance` is the accuracy of always naming the most frequent class. `parts`: the score of every factor and dense group alone, where
    there are dense groups. `prequential`: the same mean over training images that were new when they were seen, in the last three
    quarters of the training; None where images were seen twice, or labels are all there is.
    """

    images: int
    score: float
    cross_entropy: dict[str, float]
    accuracy: dict[str, float]
    chance: dict[str, float]
    joint_accuracy: float
    parts: dict[str, float] = field(default_factory=dict)
    prequential: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without what this evaluation has not."""
        values = asdict(self)
        return {key: value for key, value in values.items() if value not in ({}, None)}


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """Bytes (N, 3, s, s) to floats with about zero mean and unit deviation, channels last."""
    return ((images.to(device).float() - 127.5) / 64.0).contiguous(memory_format=torch.channels_last)


def autocast(device: torch.device) -> torch.autocast:
    """The precision of training, scoring and timing: bfloat16 where it has tensor cores, else float32 throughout."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def evaluate(network: nn.Module, data: Dataset, split: str, image_size: int, device: torch.device, limit: int) -> Score:
    """Score the first `limit` images of a split, batch norm in inference mode."""
    network.eval()
    count = min(limit, data.size(split))
    losses, right, seen = np.zeros(len(data.factors)), [], []
    squared = np.zeros(len(data.dense))
    widths = [group.width for group in data.dense]
    at_once = GPU_EVALUATION_BATCH if device.type == "cuda" else EVALUATION_BATCH
    for start in range(0, count, at_once):
        ids = np.arange(start, min(start + at_once, count))
        images, labels, dense = data.batch(split, ids, image_size, None)
        with autocast(device):
            outputs = network(to_float(images, device)).float().cpu()
        labels, dense = labels.cpu(), dense.cpu()
        blocks = split_logits(outputs, data.factors)
        losses += [F.cross_entropy(block, labels[:, i], reduction="sum").item() for i, block in enumerate(blocks)]
        if widths:
            errors = (outputs[:, -sum(widths) :] - dense).square().split(widths, 1)
            squared += [error.mean(1).sum().item() for error in errors]
        seen.append(labels)
        right.append(torch.stack([block.argmax(1) == labels[:, i] for i, block in enumerate(blocks)], 1))
    hits = torch.cat(right).numpy()
    names = [factor.name for factor in data.factors]
    entropy = losses / count
    shares = [loss / math.log(factor.classes) for loss, factor in zip(entropy, data.factors, strict=True)]
    shares += (squared / count).tolist()
    return Score(
        count,
        float(1 - np.mean(shares)),
        dict(zip(names, entropy.tolist(), strict=True)),
        dict(zip(names, hits.mean(0).tolist(), strict=True)),
        _chance(torch.cat(seen), data.factors),
        float(hits.all(1).mean()),
        {name: float(1 - share) for name, share in zip(part_names(data), shares, strict=True)} if widths else {},
    )


def _chance(labels: Tensor, factors: tuple[Factor, ...]) -> dict[str, float]:
    """Accuracy of always saying the most frequent class of these images."""
    return {factor.name: float(labels[:, i].bincount().max()) / len(labels) for i, factor in enumerate(factors)}
