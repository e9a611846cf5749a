"""HaloNet: stem, stages of bottleneck blocks, head (arXiv:2103.12731, table 1). Images are (N, 3, s, s) in channels_last."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.families.building_blocks import Classifier, Conv, ResidualBlock, SqueezeExcite, Subsample
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.fused import split
from halosearch.families.halonet.attention.halo_attention import masked_attention
from halosearch.families.halonet.config import ATTENTION, SE_RATIO, STAGES, HaloNetConfig
from halosearch.families.halonet.variant import ABSOLUTE, POOLED, RELATIVE
from halosearch.families.norm import Norm

REL_STD = 0.02
WEIGHTS_VERSION = 2
"""Names and draws of the weights: checkpoints and scores of another version do not fit."""


class HaloAttention(nn.Module):
    """q, k, v projections around `halo_attention`; no output projection. (N, C, H, W) to (N, rv·C, H/stride, W/stride)."""

    def __init__(self, config: HaloNetConfig, stage: int, stride: int, backend: str) -> None:
        """Size the projections and embeddings for a layer of `stage`."""
        super().__init__()
        width, self.heads, self.backend = config.stage_width(stage), config.heads[stage], backend
        first, pooled = stride > 1, config.variant.downsampling == POOLED
        self.stride, self.pool = (1, stride) if pooled else (stride, 1)
        stride = self.stride
        self.block_size, self.halo_size = config.block_size, config.halo_size
        self.keys = int(config.query_ratio * width)
        self.values = int(config.value_ratio * width)
        if stride == 1:
            self.qkv = nn.Linear(width, 2 * self.keys + self.values, bias=False)
        else:
            self.query = nn.Linear(width, self.keys, bias=False)
            self.key_value = nn.Linear(width, self.keys + self.values, bias=False)
        table = (2 * config.window_size - 1, self.keys // self.heads)
        self.variant = config.variant
        if self.variant.positions == RELATIVE:
            self.rel_height = nn.Parameter(nn.init.trunc_normal_(torch.empty(table), std=REL_STD))
            self.rel_width = nn.Parameter(nn.init.trunc_normal_(torch.empty(table), std=REL_STD))
        else:
            self.register_buffer("rel_height", torch.zeros(table), persistent=False)
            self.register_buffer("rel_width", torch.zeros(table), persistent=False)
        if self.variant.positions == ABSOLUTE:
            side = config.stage_sides()[stage - 1 if stage and first else stage]
            self.rel_row, self.rel_column = (
                nn.Parameter(nn.init.trunc_normal_(torch.empty(side, width), std=REL_STD)) for _ in range(2)
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Attend; under stride 2 only the queries of even positions are computed."""
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        if self.variant.positions == ABSOLUTE:
            x_NHWC = x_NHWC + self.rel_row[:, None] + self.rel_column
        if self.stride == 1:
            q, k, v = split(self.qkv(x_NHWC), (self.keys, self.keys, self.values))
        else:
            q = self.query(x_NHWC[:, :: self.stride, :: self.stride])
            k, v = split(self.key_value(x_NHWC), (self.keys, self.values))
        inputs = Inputs(q, k, v, self.rel_height.to(q.dtype), self.rel_width.to(q.dtype))
        shape = Shape(self.heads, self.block_size, self.halo_size, self.stride)
        relative = self.variant.positions == RELATIVE
        out_NHWC = masked_attention(inputs, shape, self.variant.mask, self.backend, relative=relative)
        out_NCHW = out_NHWC.permute(0, 3, 1, 2)
        if self.pool == 1:
            return out_NCHW
        return F.avg_pool2d(out_NCHW, self.pool, ceil_mode=True, count_include_pad=False)


class Bottleneck(ResidualBlock):
    """1x1, attention (or 3x3 and squeeze-excite), 1x1, beside a shortcut."""

    def __init__(self, config: HaloNetConfig, stage: int, channels: int, stride: int, backend: str) -> None:
        """A block of `stage` that reads `channels` channels."""
        super().__init__()
        width, out = config.stage_width(stage), int(config.expansion_ratio * config.stage_width(stage))
        act = config.variant.activation
        self.reduce = Conv(channels, width, act=act)
        if config.stage_kinds[stage] == ATTENTION:
            attention = HaloAttention(config, stage, stride, backend)
            inner = attention.values
            spatial = [attention, Norm(inner, act)]
            spatial += [nn.Identity(), _gate(inner, act)] if config.variant.squeeze_excite else []  # names of weights
        else:
            inner = width
            spatial = [Conv(width, width, 3, stride, act=act), _gate(width, act)]
        self.spatial = nn.Sequential(*spatial)
        self.expand = Conv(inner, out, act=None)
        self.shortcut: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.shortcut = nn.Sequential(*([Subsample(stride)] if stride > 1 else []), Conv(channels, out, act=None))
        self.act = act
        nn.init.zeros_(self.expand.norm.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Residual block."""
        inner_NCHW = self.spatial(self.reduce(x_NCHW))
        return self.joined(self.expand, inner_NCHW, self.shortcut(x_NCHW), self.act)


def _gate(width: int, act: str) -> SqueezeExcite:
    return SqueezeExcite(width, max(1, width // SE_RATIO), act)


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
        self.stem = nn.Sequential(
            Conv(3, config.base_width, 7, 2, act=config.variant.activation), nn.MaxPool2d(3, 2, 1)
        )
        channels, stages = config.base_width, []
        for stage in range(STAGES):
            blocks = []
            for index in range(config.stage_depths[stage]):
                stride = 2 if stage and not index else 1
                blocks.append(Bottleneck(config, stage, channels, stride, backend))
                channels = int(config.expansion_ratio * config.stage_width(stage))
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        act = config.variant.activation
        self.final = Conv(channels, config.final_width, act=act) if config.final_width else nn.Identity()
        self.head = nn.Linear(config.final_width or channels, classes)

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map (N, df, s/32, s/32) of images (N, 3, s, s)."""
        x_NCHW = self.stem(x_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        map_NCHW: Tensor = self.final(x_NCHW)
        return map_NCHW
