"""EfficientNet (arXiv:1905.11946): stem, seven stages of inverted bottlenecks with squeeze-excite, head. Images (N, 3, s, s).

Without dropout and stochastic depth, whose rates belong to a recipe. Padding is symmetric, as in PyTorch's own models: an even map
under a stride of two is then sampled one pixel beside where the first implementation samples it; sides and counts are the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from halosearch.families.building_blocks import Classifier, Conv, ResidualBlock, SqueezeExcite
from halosearch.families.efficientnet.config import EfficientNetConfig, Stage, squeezed
from halosearch.families.layers import IMAGENET_CLASSES


class InvertedBottleneck(nn.Module):
    """Expand, depthwise, squeeze-excite, project."""

    def __init__(self, stage: Stage, channels: int, stride: int) -> None:
        """A block of `stage` that reads `channels` channels."""
        super().__init__()
        inner = stage.expansion * channels
        self.expand: nn.Module = Conv(channels, inner) if stage.expansion > 1 else nn.Identity()
        self.depthwise = Conv(inner, inner, stage.kernel, stride, groups=inner)
        self.gate = SqueezeExcite(inner, squeezed(channels))
        self.project = Conv(inner, stage.width, act=None)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H/stride, W/stride)."""
        out_NCHW: Tensor = self.project(self.inner(x_NCHW))
        return out_NCHW

    def inner(self, x_NCHW: Tensor) -> Tensor:
        """What is projected."""
        inner_NCHW: Tensor = self.gate(self.depthwise(self.expand(x_NCHW)))
        return inner_NCHW


class ResidualInvertedBottleneck(ResidualBlock):
    """The same beside the identity, where the shape is kept."""

    def __init__(self, stage: Stage) -> None:
        """A block of `stage` that reads as many channels as it gives out; its last batch-norm gain begins at 0 (arXiv:1706.02677)."""
        super().__init__()
        self.branch = InvertedBottleneck(stage, stage.width, 1)
        nn.init.zeros_(self.branch.project.norm.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, width, H, W), kept."""
        return self.joined(self.branch.project, self.branch.inner(x_NCHW), x_NCHW, None)


def _block(stage: Stage, channels: int, stride: int) -> nn.Module:
    """A block of `stage` that reads `channels` channels, with a shortcut where the shape is kept."""
    kept = stride == 1 and channels == stage.width
    return ResidualInvertedBottleneck(stage) if kept else InvertedBottleneck(stage, channels, stride)


class EfficientNet(Classifier):
    """The network of a config, with a classifier of `classes` outputs."""

    def __init__(self, config: EfficientNetConfig, classes: int = IMAGENET_CLASSES) -> None:
        """Build; residual branches begin at 0, all else is PyTorch's own initialisation."""
        super().__init__()
        self.config = config
        channels, stages = config.stem_width, []
        self.stem = Conv(3, channels, 3, 2)
        for stage in config.stages():
            blocks = []
            for index in range(stage.depth):
                blocks.append(_block(stage, channels, 1 if index else stage.stride))
                channels = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.final = Conv(channels, config.final_width)
        self.head = nn.Linear(config.final_width, classes)

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map (N, final width, s/32, s/32) of images (N, 3, s, s)."""
        x_NCHW = self.stem(x_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        map_NCHW: Tensor = self.final(x_NCHW)
        return map_NCHW
