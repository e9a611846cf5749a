"""A twin with the outputs that a dataset asks for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.network import HaloNet
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.recipe import residual_scale

QUADRANTS = 2


class DescribingNetwork(nn.Module):
    """Class logits from the mean of the last map, dense outputs from its means over quadrants: a readout that knows where.

    (N, 3, s, s) to (N, classes + dense).
    """

    def __init__(self, trunk: HaloNet, dense: int) -> None:
        """`dense`: numbers that describe a picture."""
        super().__init__()
        self.trunk = trunk
        self.dense = nn.Linear(QUADRANTS**2 * trunk.head.in_features, dense)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, then dense outputs."""
        map_NCHW = self.trunk.features(x_NCHW)
        placed = self.dense(F.adaptive_avg_pool2d(map_NCHW, QUADRANTS).flatten(1))
        return torch.cat((self.trunk.classify(map_NCHW), placed), 1)


def build(config: HaloNetConfig, data: Dataset, device: torch.device) -> nn.Module:
    """The network that is trained on a dataset, in channels_last on the device; weights are drawn from torch's own state."""
    trunk = HaloNet(config, sum(factor.classes for factor in data.factors), residual_scale=residual_scale(config))
    width = sum(group.width for group in data.dense)
    network = DescribingNetwork(trunk, width) if width else trunk
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
