"""HaloNet: stem, stages of bottleneck blocks, head (arXiv:2103.12731, table 1). Images are (N, 3, s, s) in channels_last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


class SqueezeExcite(nn.Module):
    """Channel gates from the map's mean (arXiv:1709.01507); shape is kept."""

    def __init__(self, width: int) -> None:
        """Two fully connected layers, `width` -> width / 16 -> width."""
        super().__init__()
        squeezed = max(1, width // SE_RATIO)
        self.squeeze, self.excite, self.act = nn.Linear(width, squeezed), nn.Linear(squeezed, width), nn.SiLU()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Scale every channel."""
        gates_NC = self.excite(self.act(self.squeeze(x_NCHW.mean((2, 3))))).sigmoid()
        gated: Tensor = x_NCHW * gates_NC[:, :, None, None]
        return gated


class Conv(nn.Sequential):
    """Convolution without bias, batch norm, and SiLU where `act`."""

    def __init__(self, channels: int, width: int, size: int = 1, stride: int = 1, *, act: bool = True) -> None:
        """Pad so that a stride of two rounds the map up."""
        super().__init__(
            nn.Conv2d(channels, width, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(width),
            *([nn.SiLU(inplace=True)] if act else []),
        )


class Subsample(nn.Module):
    """Every `stride`-th row and column: before a 1x1 convolution this equals its stride.

    oneDNN's backward of a strided 1x1 convolution in channels_last corrupts memory at some channel counts (torch 2.13 on a
    CPU, 6 to 12 channels), so strided 1x1 convolutions are never built.
    """

    def __init__(self, stride: int) -> None:
        """Keep the stride."""
        super().__init__()
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H/stride, W/stride), rounded up."""
        return x_NCHW[:, :, :: self.stride, :: self.stride]


class Bottleneck(nn.Module):
    """1x1, attention (or 3x3 and squeeze-excite), 1x1, beside a shortcut; `scale` multiplies the branch."""

    def __init__(
        self, config: HaloNetConfig, stage: int, channels: int, stride: int, backend: str, scale: float
    ) -> None:
        """A block of `stage` that reads `channels` channels."""
        super().__init__()
        width, out = config.stage_width(stage), int(config.expansion_ratio * config.stage_width(stage))
        self.reduce, self.scale = Conv(channels, width), scale
        if config.stage_kinds[stage] == ATTENTION:
            attention = HaloAttention(config, stage, stride, backend)
            inner = attention.values
            self.spatial: nn.Module = nn.Sequential(attention, nn.BatchNorm2d(inner), nn.SiLU(inplace=True))
        else:
            inner = width
            self.spatial = nn.Sequential(Conv(width, width, 3, stride), SqueezeExcite(width))
        self.expand = Conv(inner, out, act=False)
        self.shortcut: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.shortcut = nn.Sequential(*([Subsample(stride)] if stride > 1 else []), Conv(channels, out, act=False))
        self.act = nn.SiLU(inplace=True)
        last_norm = self.expand[1]
        assert isinstance(last_norm, nn.BatchNorm2d)
        nn.init.zeros_(last_norm.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Residual block."""
        branch_NCHW = self.expand(self.spatial(self.reduce(x_NCHW)))
        out_NCHW: Tensor = self.act(self.shortcut(x_NCHW) + self.scale * branch_NCHW)
        return out_NCHW


class HaloNet(nn.Module):
    """The network of a config, with a classifier of `classes` outputs.

    Args:
        config: what to build; its canonical form is built.
        classes: outputs of the classifier.
        backend: attention backend, see `halo_attention`.
        residual_scale: factor on every residual branch (1 in the paper; short trainings use it across depths).
    """

    def __init__(
        self, config: HaloNetConfig, classes: int = 1000, *, backend: str = "auto", residual_scale: float = 1.0
    ) -> None:
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
                blocks.append(Bottleneck(config, stage, channels, stride, backend, residual_scale))
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

    def classify(self, map_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of a last map."""
        logits: Tensor = self.head(map_NCHW.mean((2, 3)))
        return logits

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, s, s)."""
        return self.classify(self.features(x_NCHW))
