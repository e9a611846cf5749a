"""ResNet with bottleneck blocks (arXiv:1512.03385), the stride in the 3x3 convolution as in PyTorch's own. Images (N, 3, s, s)."""

from __future__ import annotations

from torch import Tensor, nn

from halosearch.families.building_blocks import Classifier, Conv, ResidualBlock, SqueezeExcite, Subsample
from halosearch.families.layers import IMAGENET_CLASSES
from halosearch.families.norm import activated
from halosearch.families.resnet.config import EXPANSION, STAGES, ResNetConfig, squeezed


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 (and squeeze-excite), beside a shortcut."""

    def __init__(self, config: ResNetConfig, stage: int, channels: int, stride: int) -> None:
        """A block of `stage` that reads `channels` channels."""
        super().__init__()
        width, out, act = config.width(stage), EXPANSION * config.width(stage), config.activation
        self.reduce = Conv(channels, width, act=act)
        self.spatial = Conv(width, width, 3, stride, act=act)
        self.expand = Conv(width, out, act=None)
        self.gate: nn.Module = SqueezeExcite(out, squeezed(out), act) if config.squeeze_excite else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.shortcut = nn.Sequential(*([Subsample(stride)] if stride > 1 else []), Conv(channels, out, act=None))
        self.act = act

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 width, H/stride, W/stride)."""
        inner_NCHW, shortcut_NCHW = self.spatial(self.reduce(x_NCHW)), self.shortcut(x_NCHW)
        if isinstance(self.gate, nn.Identity):
            return self.joined(self.expand, inner_NCHW, shortcut_NCHW, self.act)
        return activated(shortcut_NCHW + self.weighed(self.gate(self.expand(inner_NCHW))), self.act)


class ResNet(Classifier):
    """The network of a config, with a classifier of `classes` outputs."""

    def __init__(self, config: ResNetConfig, classes: int = IMAGENET_CLASSES) -> None:
        """Build; last batch-norm gain of each block zero (arXiv:1706.02677), all else PyTorch's own initialisation."""
        super().__init__()
        self.config = config
        channels, stages = config.base_width, []
        self.stem = nn.Sequential(Conv(3, channels, 7, 2, act=config.activation), nn.MaxPool2d(3, 2, 1))
        for stage in range(STAGES):
            blocks = []
            for index in range(config.depths[stage]):
                blocks.append(Bottleneck(config, stage, channels, 2 if stage and not index else 1))
                channels = EXPANSION * config.width(stage)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.expand.norm.weight)

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map (N, 32 base width, s/32, s/32) of images (N, 3, s, s)."""
        x_NCHW = self.stem(x_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        map_NCHW: Tensor = x_NCHW
        return map_NCHW
