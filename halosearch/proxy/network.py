"""A twin with the outputs that a dataset asks for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.families.building_blocks import Classifier, ResidualBlock
from halosearch.families.known import Config
from halosearch.families.known import build as build_trunk
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.recipe import residual_scale

QUADRANTS = 2


class DescribingNetwork(nn.Module):
    """Class logits from the mean of the last map, dense outputs from its means over quadrants: a readout that knows where.

    (N, 3, s, s) to (N, classes + dense).
    """

    def __init__(self, trunk: Classifier, dense: int) -> None:
        """`dense`: numbers that describe a picture."""
        super().__init__()
        self.trunk = trunk
        self.dense = nn.Linear(QUADRANTS**2 * trunk.head.in_features, dense)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, then dense outputs."""
        map_NCHW = self.trunk.features(x_NCHW)
        placed = self.dense(F.adaptive_avg_pool2d(map_NCHW, QUADRANTS).flatten(1))
        return torch.cat((self.trunk.classify(map_NCHW), placed), 1)


def build(config: Config, data: Dataset, device: torch.device) -> nn.Module:
    """The network that is trained on a dataset, in channels_last on the device; weights are drawn from torch's own state."""
    trunk = build_trunk(config, sum(factor.classes for factor in data.factors))
    blocks = [module for module in trunk.modules() if isinstance(module, ResidualBlock)]
    for block in blocks:
        block.scale = residual_scale(len(blocks))
    width = sum(group.width for group in data.dense)
    network = DescribingNetwork(trunk, width) if width else trunk
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
