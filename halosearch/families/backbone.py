"""A network without its classifier, as detectors and segmenters know it: four maps at strides 4, 8, 16 and 32, with their channels."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from halosearch.errors import UsageError
from halosearch.families.building_blocks import Classifier

STRIDES = (4, 8, 16, 32)


class Backbone(nn.Module):
    """The maps of a network's stages: the last one at every stride that is asked for. Images (N, 3, H, W) of any size that it reads.

    `feature_info`: as timm's models say it, a dict of num_chs, reduction and module for every map. `out_channels`: channels of the maps.
    Maps come as torchvision's backbones give them: an ordered dict "0", "1", ... from fine to coarse.
    """

    def __init__(self, network: Classifier, strides: tuple[int, ...] = STRIDES) -> None:
        """Keep the trunk; `strides`: which maps are given.

        Raises:
            UsageError: the network has no map at one of the strides.
        """
        super().__init__()
        stages, strides = network.stages, tuple(sorted(strides))
        assert isinstance(network.stem, nn.Module)
        assert isinstance(stages, nn.ModuleList)
        self.stem, self.stages = network.stem, stages
        self.training = network.training
        side = int(network.config.image_size)  # type: ignore[union-attr,arg-type]
        shapes = enumerate(self._shapes(side))  # an odd map is rounded up, so that a stride is a power of two nearly
        last = {2 ** round(math.log2(side / shape[-1])): (place, shape[1]) for place, shape in shapes}
        for stride in strides:
            if stride not in last:
                raise UsageError(f"the network has no map at stride {stride}", f"it has {', '.join(map(str, last))}")
        self.places = tuple(last[stride][0] for stride in strides)
        self.out_channels = [last[stride][1] for stride in strides]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": channels, "reduction": stride, "module": f"stages.{place}"}
            for stride, place, channels in zip(strides, self.places, self.out_channels, strict=True)
        ]

    def _shapes(self, side: int) -> list[torch.Size]:
        """Shapes of the stages' maps, without computing them; the parts are left in the mode that they were in."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            x_NCHW, found = self.stem(torch.empty(1, 3, side, side, device=next(self.stem.parameters()).device)), []
            for stage in self.stages:
                x_NCHW = stage(x_NCHW)
                found.append(x_NCHW.shape)
        for module, mode in modes:
            module.training = mode
        return found

    def forward(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The maps, fine to coarse."""
        x_NCHW, found = self.stem(x_NCHW), OrderedDict()
        for place, stage in enumerate(self.stages):
            x_NCHW = stage(x_NCHW)
            if place in self.places:
                found[str(self.places.index(place))] = x_NCHW
            if place == max(self.places):
                break
        return found
