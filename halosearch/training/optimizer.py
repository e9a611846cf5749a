"""The optimiser of a full training: rates by stage, frozen parts, no decay of vectors and relative embeddings; averaged weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from halosearch.errors import UsageError
from halosearch.families.building_blocks import Classifier
from halosearch.training.recipe import SGD, ModelRecipe


def make_optimizer(network: Classifier, recipe: ModelRecipe) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimiser and the peak rate of each of its groups."""
    assert isinstance(network.stages, nn.ModuleList)
    if recipe.frozen > len(network.stages):
        raise UsageError(f"--frozen {recipe.frozen}: the network has {len(network.stages)} stages", "fewer of them")
    depth = len(network.stages) + 1
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        level = _level(name, depth)
        if level < recipe.frozen + (recipe.frozen > 0):  # the stem is level 0
            parameter.requires_grad_(False)
            continue
        decays = parameter.ndim > 1 and "rel_" not in name
        groups.setdefault((recipe.layer_decay ** (depth - level), decays), []).append(parameter)
    rates = [recipe.learning_rate * factor for factor, _ in groups]
    listed: list[dict[str, Any]] = [
        {"params": each, "weight_decay": recipe.weight_decay if decays else 0.0} for (_, decays), each in groups.items()
    ]
    if recipe.optimizer == SGD:
        made: torch.optim.Optimizer = torch.optim.SGD(
            listed, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
    else:
        made = torch.optim.AdamW(listed, lr=recipe.learning_rate)
    return made, rates


def _level(name: str, depth: int) -> int:
    """0 for the stem, 1 for the first stage, and so on; what comes after the stages is the last."""
    if name.startswith("stem."):
        return 0
    stage = re.match(r"stages\.(\d+)\.", name)
    return int(stage[1]) + 1 if stage else depth


class Averaged(AveragedModel):
    """Averaged weights and statistics; the first steps count more, for they are soon forgotten. No step waits for the device."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """A copy of the network as it is."""
        super().__init__(network, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def follow(self, network: nn.Module, steps: int) -> None:
        """Go a little towards the network, after so many earlier steps; to it at the first."""
        mine, theirs = ([*each.parameters(), *each.buffers()] for each in (self.module, network))
        decay = 0.0 if not steps else min(self.decay, (1 + steps) / (10 + steps))
        pairs = list(zip(mine, theirs, strict=True))
        moving = [(a, b) for a, b in pairs if a.is_floating_point()]
        get_ema_multi_avg_fn(decay)([a for a, _ in moving], [b for _, b in moving], None)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)


def keep_frozen(network: Classifier, stages: int) -> None:
    """The stem and the first stages, where they are frozen, keep the statistics that they came with."""
    if stages:
        assert isinstance(network.stem, nn.Module)
        assert isinstance(network.stages, nn.ModuleList)
        for part in (network.stem, *list(network.stages)[:stages]):
            part.eval()
