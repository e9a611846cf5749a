"""Halo attention on torch's scaled_dot_product_attention: any device and dtype that it runs on, no score-sized tensor.

score = [q·scale, q·r_height, q·r_width] . [k, one-hot row, one-hot column], hidden keys' logits lowered. Backward gathers the
windows again, so that it keeps no more than q, k and v. Legend as in `moves`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from halosearch.families.halonet.attention import gather_scatter as moves
from halosearch.families.halonet.attention.block_geometry import BlockGeometry, block_geometry, geometry_of
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.gather_scatter import cached_hidden, hidden

MOST_BLOCKS = 65_535
"""Blocks times heads of a launch: CUDA's limit of a grid's second and third dimension."""
FEATURE_MULTIPLE = 8
"""Head features are padded to a multiple of 8, which the fused CPU and CUDA kernels want."""


def attend(inputs: Inputs, shape: Shape) -> Tensor:
    """See `halo_attention.halo_attention`."""
    # a compiler has no use for caches, and decides itself what backward computes again
    compiling = torch.compiler.is_compiling()
    along = geometry_of if compiling else block_geometry
    heads, *numbers = shape
    rows, columns = (along(int(side), *numbers) for side in inputs.k.shape[1:3])

    def run(*tensors: Tensor) -> Tensor:
        return _attend(Inputs(*tensors), heads, rows, columns)

    if not compiling and torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
        out: Tensor = checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
        return out
    return run(*inputs)


def _attend(inputs: Inputs, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    q, k, v, rel_height, rel_width = inputs
    tables = moves.join_tables(rel_height, rel_width, rows, columns)
    q_NIJGABF = _query_features(q, tables, heads, rows, columns)
    k_NIJGXYF = _key_features(_windows(k, heads, rows, columns), rows, columns)
    v_NIJGXYE = _windows(v, heads, rows, columns)
    n, i, j, g, a, b, features = q_NIJGABF.shape
    channels = v_NIJGXYE.shape[-1]
    width = -(-max(features, channels) // FEATURE_MULTIPLE) * FEATURE_MULTIPLE
    packed = [
        F.pad(each, (0, width - each.shape[-1])).reshape(n * i * j, g, -1, width)
        for each in (q_NIJGABF, k_NIJGXYF, v_NIJGXYE)
    ]
    out = _attended(packed[0], packed[1], packed[2])[..., :channels]
    return moves.join_queries(out.reshape(n, i, j, g, a, b, -1).permute(0, 1, 4, 2, 5, 3, 6), rows, columns)


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Blocks of all images are one batch, which a CUDA kernel takes up to `MOST_BLOCKS` of."""
    at_once = max(1, MOST_BLOCKS // q.shape[1])
    if len(q) <= at_once:
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)
    parts = zip(q.split(at_once), k.split(at_once), v.split(at_once), strict=True)
    return torch.cat([F.scaled_dot_product_attention(a, b, c, scale=1.0) for a, b, c in parts])


def _query_features(q: Tensor, tables: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    q_NIAJBGD = moves.cut_queries(q, heads, rows, columns)
    shape, channels = q_NIAJBGD.shape[:-1], q_NIAJBGD.shape[-1]
    flat = q_NIAJBGD.reshape(-1, channels)
    products = (flat @ tables.t()).view(*shape, -1)
    down, across = _skewed(products, rows, columns)
    scaled_NIJGABD = q_NIAJBGD.permute(0, 1, 3, 5, 2, 4, 6) * channels**-0.5
    down = down + _hidden(rows, q)[:, None, None, :, None]
    return torch.cat([scaled_NIJGABD, down, across + _hidden(columns, q)[:, None, None]], -1)


def _hidden(side: BlockGeometry, like: Tensor) -> Tensor:
    """Made anew in a compiled graph, which has no use for a cache."""
    if torch.compiler.is_compiling():
        return hidden(side, like.device).to(like.dtype)
    return cached_hidden(side, like.device, like.dtype)


def _key_features(k_NIJGXYD: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    shape = k_NIJGXYD.shape[:-1]
    row = torch.eye(rows.window, dtype=k_NIJGXYD.dtype, device=k_NIJGXYD.device)[:, None]
    column = torch.eye(columns.window, dtype=k_NIJGXYD.dtype, device=k_NIJGXYD.device)
    return torch.cat([k_NIJGXYD, row.expand(*shape, -1), column.expand(*shape, -1)], -1)


def _windows(channels: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    if torch.compiler.is_compiling():  # tracers differentiate the view themselves
        return moves.windows(channels, heads, rows, columns)
    gathered: Tensor = _Windows.apply(channels, heads, rows, columns)  # type: ignore[no-untyped-call]
    return gathered


def _skewed(products_NIAJBGT: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        return moves.skewed(products_NIAJBGT, rows, columns)
    down, across = _Skewed.apply(products_NIAJBGT, rows, columns)  # type: ignore[no-untyped-call]
    return down, across


class _Windows(torch.autograd.Function):
    """`moves.windows` whose backward is a sum in a fixed order instead of a scatter."""

    @staticmethod
    def forward(ctx: Any, channels: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
        ctx.sides = rows, columns
        return moves.windows(channels, heads, rows, columns).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, g_NIJGXYD: Tensor) -> tuple[Tensor, None, None, None]:
        return moves.fold_windows(g_NIJGXYD, *ctx.sides), None, None, None


class _Skewed(torch.autograd.Function):
    """`moves.skewed`, whose elements never overlap within a view: backward writes each to its place."""

    @staticmethod
    def forward(
        ctx: Any, products_NIAJBGT: Tensor, rows: BlockGeometry, columns: BlockGeometry
    ) -> tuple[Tensor, Tensor]:
        ctx.sides, ctx.shape = (rows, columns), products_NIAJBGT.shape
        down, across = moves.skewed(products_NIAJBGT, rows, columns)
        return down.clone(memory_format=torch.contiguous_format), across.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, g_down: Tensor, g_across: Tensor) -> tuple[Tensor, None, None]:
        products_NIAJBGT = g_down.new_zeros(ctx.shape)
        down, across = moves.skewed(products_NIAJBGT, *ctx.sides)
        down.copy_(g_down)
        across.copy_(g_across)
        return products_NIAJBGT, None, None
