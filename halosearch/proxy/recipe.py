"""How a twin is trained for a short while: rates, schedule and parameter groups, as frozen numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.known import Config
from halosearch.families.resnet.config import EXPANSION, ResNetConfig

REFERENCE_EXPANSION = 2.0
REFERENCE_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Recipe:
    """AdamW with warm-up, a constant part and a linear cooldown over the last share of every rung.

    Rates are per step for `batch` images; `warmup_steps` of them rise linearly. `norm_batches` settle batch norm before a score.
    `randaugment`: magnitude of 31 of the augmentation that pictures get, 0 for none.
    """

    batch: int = 64
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip: float = 1.0
    label_smoothing: float = 0.1
    warmup_steps: int = 8
    cooldown: float = 0.2
    norm_batches: int = 8
    randaugment: int = 0

    def steps(self, images: int) -> int:
        """Optimiser steps that show `images` images."""
        return max(1, images // self.batch)

    def trunk_steps(self, images: int) -> int:
        """Steps before a rung's cooldown branches off."""
        return self.steps(images) - max(1, round(self.cooldown * self.steps(images)))

    def trunk_factor(self, step: int) -> float:
        """Share of the peak rate at a step of the trunk: warm-up, then constant."""
        return min(1.0, (step + 1) / self.warmup_steps)

    def cooldown_factor(self, step: int, images: int) -> float:
        """Share of the peak rate at a step of a rung's cooldown."""
        start, end = self.trunk_steps(images), self.steps(images)
        return self.trunk_factor(step) * (end - step) / (end - start + 1)


def residual_scale(blocks: int) -> float:
    """Factor on residual branches, sqrt(reference depth / depth): one learning rate then serves every depth."""
    return math.sqrt(REFERENCE_DEPTH / blocks)


def rates_of(config: Config) -> dict[str, float]:
    """Factors on the rates of hidden 1x1 matrices by a part of their names: 1/fan-in relative to rb = 2, rv = 1 (as in mu-P).

    A ResNet's bottleneck is a HaloNet's of rb = 4, rv = 1. Of other families every matrix goes at the recipe's own rate.
    """
    if isinstance(config, HaloNetConfig):
        return {".reduce.0": REFERENCE_EXPANSION / config.expansion_ratio, ".expand.0": 1.0 / config.value_ratio}
    if isinstance(config, ResNetConfig):
        return {".reduce.0": REFERENCE_EXPANSION / EXPANSION}
    return {}


def parameter_groups(network: nn.Module, config: Config, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups with their decay and rate (see `rates_of`); vectors and relative embeddings do not decay."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    factors = rates_of(config)
    for name, parameter in network.named_parameters():
        rate = next((factor for part, factor in factors.items() if part in name), 1.0)
        groups.setdefault((rate, parameter.ndim > 1 and "rel_" not in name), []).append(parameter)
    return [
        {
            "params": parameters,
            "rate": recipe.learning_rate * rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (rate, decays), parameters in groups.items()
    ]
