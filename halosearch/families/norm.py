"""Batch norm with what follows it, as one module: torch's operators, or on CUDA in training Triton's fused ones.

Maps are (N, C, H, W) in channels_last. Parameters, buffers and their names are those of `nn.BatchNorm2d`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from halosearch.families.layers import RELU, SILU
from halosearch.families.triton_probe import kernels_run

ACTIVATIONS: dict[str, type[nn.Module]] = {SILU: nn.SiLU, RELU: nn.ReLU}
CODES = {None: 0, SILU: 1, RELU: 2}
"""How the kernels are told the activation."""
TILE, SUMMED_TILE = 4096, 2048
"""Elements of a program's tile where it passes over the map, and where it sums over it."""
WIDTHS = (32, 64, 128)
"""Channels of a tile: few, because every one is compiled for."""
NORM = "batch norm"
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What the kernels take."""
MOST_PARTS = 512
"""Most parts of the rows whose sums are made apart and then joined."""


class Norm(nn.BatchNorm2d):
    """Batch norm, and an activation where one is named."""

    def __init__(self, width: int, act: str | None = None) -> None:
        """Gain 1, offset 0."""
        super().__init__(width)
        self.act = act

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The activation of the normalised map."""
        if self._is_fused(x_NCHW):
            return self._fused(x_NCHW, None, 1.0, self.act)
        return activated(super().forward(x_NCHW), self.act)

    def joined(self, x_NCHW: Tensor, shortcut_NCHW: Tensor, scale: float, act: str | None) -> Tensor:
        """act(shortcut + scale · norm(x)); the norm's own activation must be none."""
        if self._is_fused(x_NCHW, shortcut_NCHW):
            return self._fused(x_NCHW, shortcut_NCHW, scale, act)
        return activated(shortcut_NCHW + scale * super().forward(x_NCHW), act)

    def _is_fused(self, *maps: Tensor) -> bool:
        """Training on CUDA, outside compilers (which fuse by themselves), with a fixed momentum."""
        return (
            self.training
            and self.momentum is not None
            and all(each.is_cuda and each.is_contiguous(memory_format=torch.channels_last) for each in maps)
            and maps[0].dtype in DTYPES
            and len({each.dtype for each in maps}) == 1
            and not torch.compiler.is_compiling()
            and kernels_run(NORM, maps[0].device, _probe_error)
        )

    def _fused(self, x_NCHW: Tensor, shortcut_NCHW: Tensor | None, scale: float, act: str | None) -> Tensor:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        tensors = x_NCHW, shortcut_NCHW, self.weight, self.bias
        out: Tensor = FusedNorm.apply(self, scale, CODES[act], *tensors)  # type: ignore[no-untyped-call]
        return out


def norm_backend(device: torch.device) -> str:
    """Whose kernels norms in training are on a device: "triton" or "torch"."""
    return "triton" if device.type == "cuda" and kernels_run(NORM, device, _probe_error) else "torch"


def activated(x: Tensor, act: str | None) -> Tensor:
    """Not in place: autograd keeps the input, and would clone it first."""
    if act is None:
        return x
    return nn.functional.silu(x) if act == SILU else nn.functional.relu(x, inplace=True)


def _probe_error(device: torch.device) -> float:
    """Of a small map against torch's own operators."""
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    x, r = (
        torch.randn(2, 40, 9, 5, generator=generator).to(device, memory_format=torch.channels_last) for _ in range(2)
    )
    for act, shortcut in ((SILU, None), (SILU, r)):
        ours, theirs = Norm(40).to(device).train(), nn.BatchNorm2d(40).to(device).train()
        low, high = x.bfloat16().requires_grad_(), x.clone().requires_grad_()
        join = None if shortcut is None else shortcut.bfloat16()
        tensors = low, join, ours.weight, ours.bias
        out = FusedNorm.apply(ours, 0.5, CODES[act], *tensors)  # type: ignore[no-untyped-call]
        plain = theirs(high) if shortcut is None else shortcut + 0.5 * theirs(high)
        exact = activated(plain, act)
        pairs = [(out, exact)]
        pairs += zip(
            torch.autograd.grad(out.sum(), [low, ours.bias]),
            torch.autograd.grad(exact.sum(), [high, theirs.bias]),
            strict=True,
        )
        worst = max([worst, *(((a - b).norm() / b.norm().clamp_min(1.0)).detach().item() for a, b in pairs)])
    return worst


class FusedNorm(torch.autograd.Function):
    """act(norm(x)), or act(shortcut + scale · norm(x)), by batch statistics; moves the running ones of `norm` on."""

    @staticmethod
    def forward(ctx: Any, norm: Norm, scale: float, act: int, *tensors: Any) -> Tensor:
        """Keeps the map (and the shortcut), and two numbers for a channel. `tensors`: map, shortcut or None, gain, offset."""
        x, shortcut, weight, bias = tensors
        with torch.cuda.device_of(x):  # Triton launches on the current device
            mean, rstd = _moments(x, norm)
            out = _applied(x, shortcut, (mean, rstd, weight, bias), scale, act)
        ctx.scale, ctx.act = scale, act
        ctx.save_for_backward(x, shortcut, weight, bias, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the map, the shortcut, the gain and the offset."""
        x, shortcut, weight, bias, mean, rstd = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        with torch.cuda.device_of(x):
            return (None, None, None, *_gradients((g, x, shortcut), (mean, rstd, weight, bias), ctx.scale, ctx.act))


def _moments(x: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    from halosearch.families import norm_kernels as kernels

    rows, channels = x.numel() // x.shape[1], x.shape[1]
    high, wide = _tile(channels, SUMMED_TILE)
    parts, tiles = _parts(rows, high)
    partial = x.new_empty(parts, 2, channels, dtype=torch.float32)
    mean, rstd = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    columns = -(-channels // wide)
    kernels.moments_kernel[parts, columns](x, partial, rows, channels, tiles, BR=high, BC=wide)
    narrow = TILE // MOST_PARTS
    kernels.finish_moments_kernel[(-(-channels // narrow),)](
        partial, mean, rstd, norm.running_mean, norm.running_var, rows, channels, parts, tiles * high, norm.momentum, norm.eps,
        PP=MOST_PARTS, BC=narrow,
    )  # fmt: skip
    return mean, rstd


def _applied(x: Tensor, shortcut: Tensor | None, of_channels: tuple[Tensor, ...], scale: float, act: int) -> Tensor:
    from halosearch.families import norm_kernels as kernels

    out, channels = torch.empty_like(x), x.shape[1]
    rows = x.numel() // channels
    high, wide = _tile(channels, TILE)
    grid = -(-rows // high), -(-channels // wide)
    kernels.apply_kernel[grid](
        x, x if shortcut is None else shortcut, out, *of_channels, rows, channels, scale,
        ACT=act, JOIN=shortcut is not None, BR=high, BC=wide,
    )  # fmt: skip
    return out


def _gradients(
    maps: tuple[Tensor, Tensor, Tensor | None], of_channels: tuple[Tensor, ...], scale: float, act: int
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """`maps`: the output's gradient, the map, the shortcut."""
    from halosearch.families import norm_kernels as kernels

    g, x, shortcut = maps
    channels, join = x.shape[1], shortcut is not None
    rows = x.numel() // channels
    high, wide = _tile(channels, SUMMED_TILE)
    parts, tiles = _parts(rows, high)
    partial = x.new_empty(parts, 2, channels, dtype=torch.float32)
    dx, d_shortcut = torch.empty_like(x), torch.empty_like(shortcut) if shortcut is not None else None
    shape, columns = {"ACT": act, "JOIN": join}, -(-channels // wide)
    kernels.sums_kernel[parts, columns](
        x, x if shortcut is None else shortcut, g, x if d_shortcut is None else d_shortcut, partial, *of_channels,
        rows, channels, tiles, scale, BR=high, BC=wide, **shape,
    )  # fmt: skip
    sums, (high, wide) = partial.sum(0), _tile(channels, TILE)
    kernels.input_gradient_kernel[-(-rows // high), columns](
        x, g if d_shortcut is None else d_shortcut, dx, sums, *of_channels, rows, channels, scale,
        BR=high, BC=wide, **shape,
    )  # fmt: skip
    return dx, d_shortcut, sums[1], sums[0]


def _tile(channels: int, elements: int) -> tuple[int, int]:
    """Rows and channels of a tile."""
    wide = next((each for each in WIDTHS if each >= channels), WIDTHS[-1])
    return elements // wide, wide


def _parts(rows: int, high: int) -> tuple[int, int]:
    """Parts of the rows, and tiles of a part."""
    tiles = math.ceil(math.ceil(rows / high) / MOST_PARTS)
    return math.ceil(rows / (tiles * high)), tiles
