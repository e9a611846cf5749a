"""HaloNet: stem, stages of bottleneck blocks, head (arXiv:2103.12731, table 1). Images are (N, 3, s, s) in channels_last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from halosearch.families.building_blocks import Classifier, Conv, ResidualBlock, SqueezeExcite, Subsample
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.halo_attention import halo_attention
from halosearch.families.halonet.config import ATTENTION, SE_RATIO, STAGES, HaloNetConfig

REL_STD = 0.02
WEIGHTS_VERSION = 2
"""Names and draws of the weights: checkpoints and scores of another version do not fit."""


class HaloAttention(nn.Module):
    """q, k, v projections around `halo_attention`; no output projection. (N, C, H, W) to (N, rv·C, H/stride, W/stride)."""

    def __init__(self, config: HaloNetConfig, stage: int, stride: int, backend: str) -> None:
        """Size the projections and relative tables for a layer of `stage`."""
        super().__init__()
        width, self.heads, self.stride, self.backend = config.stage_width(stage), config.heads[stage], stride, backend
        self.block_size, self.halo_size = config.block_size, config.halo_size
        self.keys = int(config.query_ratio * width)
        self.values = int(config.value_ratio * width)
        if stride == 1:
            self.qkv = nn.Linear(width, 2 * self.keys + self.values, bias=False)
        else:
            self.query = nn.Linear(width, self.keys, bias=False)
            self.key_value = nn.Linear(width, self.keys + self.values, bias=False)
        table = (2 * config.window_size - 1, self.keys // self.heads)
        self.rel_height = nn.Parameter(nn.init.trunc_normal_(torch.empty(table), std=REL_STD))
        self.rel_width = nn.Parameter(nn.init.trunc_normal_(torch.empty(table), std=REL_STD))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Attend; under stride 2 only the queries of even positions are computed."""
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        if self.stride == 1:
            q, k, v = self.qkv(x_NHWC).split((self.keys, self.keys, self.values), -1)
        else:
            q = self.query(x_NHWC[:, :: self.stride, :: self.stride])
            k, v = self.key_value(x_NHWC).split((self.keys, self.values), -1)
        tables = self.rel_height.to(q.dtype), self.rel_width.to(q.dtype)
        shape = Shape(self.heads, self.block_size, self.halo_size, self.stride)
        out_NHWC = halo_attention(q, k, v, tables, shape, self.backend)
        return out_NHWC.permute(0, 3, 1, 2)


class Bottleneck(ResidualBlock):
    """1x1, attention (or 3x3 and squeeze-excite), 1x1, beside a shortcut."""

    def __init__(self, config: HaloNetConfig, stage: int, channels: int, stride: int, backend: str) -> None:
        """A block of `stage` that reads `channels` channels."""
        super().__init__()
        width, out = config.stage_width(stage), int(config.expansion_ratio * config.stage_width(stage))
        self.reduce = Conv(channels, width)
        if config.stage_kinds[stage] == ATTENTION:
            attention = HaloAttention(config, stage, stride, backend)
            inner = attention.values
            self.spatial: nn.Module = nn.Sequential(attention, nn.BatchNorm2d(inner), nn.SiLU(inplace=True))
        else:
            inner = width
            self.spatial = nn.Sequential(Conv(width, width, 3, stride), SqueezeExcite(width, max(1, width // SE_RATIO)))
        self.expand = Conv(inner, out, act=None)
        self.shortcut: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.shortcut = nn.Sequential(*([Subsample(stride)] if stride > 1 else []), Conv(channels, out, act=None))
        self.act = nn.SiLU(inplace=True)
        nn.init.zeros_(self.expand.norm.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Residual block."""
        branch_NCHW = self.expand(self.spatial(self.reduce(x_NCHW)))
        out_NCHW: Tensor = self.act(self.shortcut(x_NCHW) + self.scale * branch_NCHW)
        return out_NCHW


class HaloNet(Classifier):
    """The network of a config, with a classifier of `classes` outputs.

    Args:
        config: what to build; its canonical form is built.
        classes: outputs of the classifier.
        backend: attention backend, see `halo_attention`.
    """

    def __init__(self, config: HaloNetConfig, classes: int = 1000, *, backend: str = "auto") -> None:
        """Build and initialise: last batch-norm gain of each block zero, relative embeddings truncated normal 0.02."""
        super().__init__()
        config = config.canonical()
        self.config = config
        self.stem = nn.Sequential(Conv(3, config.base_width, 7, 2), nn.MaxPool2d(3, 2, 1))
        channels, stages = config.base_width, []
        for stage in range(STAGES):
            blocks = []
            for index in range(config.stage_depths[stage]):
                stride = 2 if stage and not index else 1
                blocks.append(Bottleneck(config, stage, channels, stride, backend))
                channels = int(config.expansion_ratio * config.stage_width(stage))
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.final = Conv(channels, config.final_width) if config.final_width else nn.Identity()
        self.head = nn.Linear(config.final_width or channels, classes)

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map (N, df, s/32, s/32) of images (N, 3, s, s)."""
        x_NCHW = self.stem(x_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        map_NCHW: Tensor = self.final(x_NCHW)
        return map_NCHW
