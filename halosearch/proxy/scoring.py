"""Scores on the fixed test set, per factor.

score = 1 - mean over factors of cross-entropy / ln(classes): the share of the labels' entropy that the network explains.
0 is a network that knows nothing but that classes are equally likely, 1 a perfect one; worse than ignorance is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.proxy.data.dataset import Dataset, Factor

EVALUATION_BATCH = 128


@dataclass(frozen=True, slots=True)
class Score:
    """Result of one evaluation on `images` images: cross-entropy in nats and accuracy by factor, joint accuracy.

    `chance` is the accuracy of always naming the most frequent class.
    """

    images: int
    score: float
    cross_entropy: dict[str, float]
    accuracy: dict[str, float]
    chance: dict[str, float]
    joint_accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images": self.images,
            "score": self.score,
            "cross_entropy": self.cross_entropy,
            "accuracy": self.accuracy,
            "chance": self.chance,
            "joint_accuracy": self.joint_accuracy,
        }


def split_logits(logits: Tensor, factors: tuple[Factor, ...]) -> tuple[Tensor, ...]:
    """One (N, classes) block per factor."""
    parts: tuple[Tensor, ...] = logits.split([factor.classes for factor in factors], 1)
    return parts


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """Bytes (N, 3, s, s) to floats with about zero mean and unit deviation, channels last."""
    return ((images.to(device).float() - 127.5) / 64.0).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def evaluate(network: nn.Module, data: Dataset, split: str, image_size: int, device: torch.device, limit: int) -> Score:
    """Score the first `limit` images of a split, batch norm in inference mode."""
    network.eval()
    count = min(limit, data.size(split))
    losses, right, seen = np.zeros(len(data.factors)), [], []
    for start in range(0, count, EVALUATION_BATCH):
        ids = np.arange(start, min(start + EVALUATION_BATCH, count))
        images, labels = data.batch(split, ids, image_size, None)
        blocks = split_logits(network(to_float(images, device)).float().cpu(), data.factors)
        losses += [F.cross_entropy(block, labels[:, i], reduction="sum").item() for i, block in enumerate(blocks)]
        seen.append(labels)
        right.append(torch.stack([block.argmax(1) == labels[:, i] for i, block in enumerate(blocks)], 1))
    hits = torch.cat(right).numpy()
    names = [factor.name for factor in data.factors]
    entropy = losses / count
    share = np.mean([loss / math.log(factor.classes) for loss, factor in zip(entropy, data.factors, strict=True)])
    return Score(
        count,
        float(1 - share),
        dict(zip(names, entropy.tolist(), strict=True)),
        dict(zip(names, hits.mean(0).tolist(), strict=True)),
        _chance(torch.cat(seen), data.factors),
        float(hits.all(1).mean()),
    )


def _chance(labels: Tensor, factors: tuple[Factor, ...]) -> dict[str, float]:
    """Accuracy of always saying the most frequent class of these images."""
    return {factor.name: float(labels[:, i].bincount().max()) / len(labels) for i, factor in enumerate(factors)}
