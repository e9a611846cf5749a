"""The optimiser of a full training: rates by stage, frozen parts, no decay of vectors and relative embeddings; averaged weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

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


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Averaged weights and statistics; the first steps count more, for they are soon forgotten."""

    def average(old: Tensor, new: Tensor, count: Any) -> Tensor:
        if not old.is_floating_point():
            return new
        steps = float(count)
        return old.lerp(new, 1 - min(decay, (1 + steps) / (10 + steps)))

    return AveragedModel(network, avg_fn=average, use_buffers=True)


def keep_frozen(network: Classifier, stages: int) -> None:
    """The stem and the first stages, where they are frozen, keep the statistics that they came with."""
    if stages:
        assert isinstance(network.stem, nn.Module)
        assert isinstance(network.stages, nn.ModuleList)
        for part in (network.stem, *list(network.stages)[:stages]):
            part.eval()
