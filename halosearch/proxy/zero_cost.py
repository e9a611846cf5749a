"""Scores of a network that has not been trained: trivial rankings that a proxy has to beat, never the objective.

gradient_norm: norm of the loss's gradient on one batch. snip: sum of |weight x gradient| over it (Lee et al., arXiv:1810.02340).
synflow: sum of weight x gradient of the summed output for an all-ones image, weights made positive, normalisation left out
(Tanaka et al., arXiv:2006.05467), as a logarithm. All three depend on the seed of the weights. Gains that training starts at 0
are 1 here: with them no gradient would enter a block.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from halosearch.families.known import Config
from halosearch.proxy.data.dataset import TRAIN, Dataset
from halosearch.proxy.network import build
from halosearch.proxy.objective import training_loss
from halosearch.proxy.scoring import autocast, to_float
from halosearch.proxy.training import batch_ids

ZERO_COST = ("gradient_norm", "snip", "synflow")


def zero_cost_scores(config: Config, data: Dataset, seed: int, batch: int, device: torch.device) -> dict[str, float]:
    """The three scores; a score that is no finite number is left out."""
    torch.manual_seed(seed)
    network = build(config, data, device)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    ids = batch_ids(seed, 0, batch, data.size(TRAIN))
    images, labels, dense = data.batch(TRAIN, ids, config.image_size, (seed, 0))
    network.train()
    with autocast(device):
        outputs = network(to_float(images, device)).float()
    training_loss(outputs, labels.to(device), dense.to(device), data, 0.0).backward()
    pairs = [(p.detach(), p.grad) for p in network.parameters() if p.grad is not None]
    found = {
        "gradient_norm": math.sqrt(sum(float(g.square().sum()) for _, g in pairs)),
        "snip": sum(float((w * g).abs().sum()) for w, g in pairs),
        "synflow": _synflow(network, config.image_size, device),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _synflow(network: nn.Module, image_size: int, device: torch.device) -> float:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()  # mean 0, variance 1: in inference mode it only scales and shifts
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    network.zero_grad(set_to_none=True)
    network.double().eval()  # products of so many positive layers leave float32
    network(torch.ones(1, 3, image_size, image_size, device=device, dtype=torch.float64)).sum().backward()
    flow = sum(float((p.detach() * p.grad).sum()) for p in network.parameters() if p.grad is not None)
    return math.log(flow) if flow > 0 else float("nan")
