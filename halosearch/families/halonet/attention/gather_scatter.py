"""Moving tensors between the map and its cuts, each move beside its adjoint (what backward needs).

Legend as in `attention`: N images, H W map, P Q output, I J cuts down and across, A B query slots, X Y window positions,
G heads, D channels of a head; here C stands for all channels of a tensor and T for rows of a grown relative table.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from halosearch.families.halonet.attention.block_geometry import BlockGeometry

HIDDEN = -1e4
"""Added to the score of a key that a query does not see: its weight underflows to 0 in every dtype, and no product overflows."""


def cut_queries(q_NPQC: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    """(N, I, A, J, B, G, D); a view where the cuts tile the output."""
    below, right = rows.blocks * rows.slots - rows.out, columns.blocks * columns.slots - columns.out
    if below or right:
        q_NPQC = F.pad(q_NPQC, (0, 0, 0, right, 0, below))
    _, p, q, c = q_NPQC.shape
    cut_NPJBGD = q_NPQC.unflatten(3, (heads, c // heads)).unflatten(2, (columns.blocks, q // columns.blocks))
    cut_NIAJBGD: Tensor = cut_NPJBGD.unflatten(1, (rows.blocks, p // rows.blocks))
    return cut_NIAJBGD


def join_queries(q_NIAJBGD: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    """Adjoint (and inverse) of `cut_queries`: (N, P, Q, G·D)."""
    n, i, a, j, b, g, d = q_NIAJBGD.shape
    return q_NIAJBGD.reshape(n, i * a, j * b, g * d)[:, : rows.out, : columns.out]


def window_shape(channels: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> tuple[int, ...]:
    """(N, I, J, G, X, Y, D) of a map (N, H, W, G·D)."""
    n, _, _, c = channels.shape
    return n, rows.blocks, columns.blocks, heads, rows.window, columns.window, c // heads


def windows(k_NHWC: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    """The windows of every cut as a view of the (padded) map: (N, I, J, G, X, Y, D)."""
    if rows.before or rows.after or columns.before or columns.after:
        k_NHWC = F.pad(k_NHWC, (0, 0, columns.before, columns.after, rows.before, rows.after))
    return _window_view(k_NHWC, heads, rows, columns)


def _window_view(k_NHWC: Tensor, heads: int, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    shape = window_shape(k_NHWC, heads, rows, columns)
    n, down, across, channel = k_NHWC.stride()
    strides = (n, rows.step * down, columns.step * across, shape[-1] * channel, down, across, channel)
    return k_NHWC.as_strided(shape, strides)


def fold_windows(g_NIJGXYD: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    """Adjoint of `windows`: every position gets the sum over the windows that hold it, in a fixed order: (N, H, W, G·D)."""
    n, _, _, g, _, _, d = g_NIJGXYD.shape
    map_NHWC = g_NIJGXYD.new_zeros(
        n, rows.size + rows.before + rows.after, columns.size + columns.before + columns.after, g * d
    )
    view = _window_view(map_NHWC, g, rows, columns)
    for down in _disjoint(rows):
        for across in _disjoint(columns):
            part = (slice(None), down[0], across[0], slice(None), down[1], across[1])
            view[part].add_(g_NIJGXYD[part])
    return map_NHWC[:, rows.before : rows.before + rows.size, columns.before : columns.before + columns.size]


def _disjoint(side: BlockGeometry) -> list[tuple[slice, slice]]:
    """Parts (blocks, positions) of the windows of an axis that do not overlap within a part and together make up all."""
    if side.blocks <= 2:
        return [(slice(block, block + 1), slice(None)) for block in range(side.blocks)]
    return [(slice(None), slice(at, min(at + side.step, side.window))) for at in range(0, side.window, side.step)]


def join_tables(rel_height: Tensor, rel_width: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> Tensor:
    """Both relative tables, one below the other, with the rows that `BlockGeometry.shift` counts on: (T, D)."""
    return torch.cat([_grown(rel_height, rows), _grown(rel_width, columns)])


def part_tables(g_TD: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> tuple[Tensor, Tensor]:
    """Adjoint of `join_tables`."""
    height = g_TD.shape[0] - columns.table
    down = g_TD[rows.grow_before : height - rows.grow_after]
    return down, g_TD[height + columns.grow_before : g_TD.shape[0] - columns.grow_after]


def _grown(table: Tensor, side: BlockGeometry) -> Tensor:
    return F.pad(table, (0, 0, side.grow_before, side.grow_after))


def skewed(products_NIAJBGT: Tensor, rows: BlockGeometry, columns: BlockGeometry) -> tuple[Tensor, Tensor]:
    """For every query, the logits of its window's rows and columns, as views: (N, I, J, G, A, B, X) and (…, Y).

    `products_NIAJBGT` are the products of the queries with the joined tables, contiguous and alone in their storage (offsets
    are absolute, as compilers need them). One step of a slot moves its window `stride` table rows back, so the views take
    that off the slot's stride.
    """
    n, i, a, j, b, g, _ = products_NIAJBGT.shape
    sn, si, sa, sj, sb, sg, _ = products_NIAJBGT.stride()
    down = (sn, si + rows.skip, sj, sg, sa - rows.stride, sb, 1)
    across = (sn, si, sj + columns.skip, sg, sa, sb - columns.stride, 1)
    return (
        products_NIAJBGT.as_strided((n, i, j, g, a, b, rows.window), down, rows.shift),
        products_NIAJBGT.as_strided((n, i, j, g, a, b, columns.window), across, rows.table + columns.shift),
    )


@lru_cache(maxsize=512)
@torch.inference_mode(mode=False)  # what is cached must serve training, too
def cached_hidden(side: BlockGeometry, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """`hidden`, made once, and for real even while tensors are faked."""
    with unset_fake_temporarily():
        return hidden(side, device).to(dtype)


def hidden(side: BlockGeometry, device: torch.device) -> torch.Tensor:
    """(I, A, W): 0 where the key lies in the map and in the window of the query's own block, HIDDEN elsewhere.

    Slots behind the map, whose queries are cropped, see whatever their window holds.
    """
    blocks = torch.arange(side.blocks, device=device)[:, None]
    position_IA = blocks * side.merged * side.tile + side.stride * torch.arange(side.slots, device=device)
    key_I1W = (blocks * side.step - side.before + torch.arange(side.window, device=device))[:, None]
    first_IA1 = (position_IA // side.tile * side.tile)[..., None]
    near = (key_I1W >= first_IA1 - side.halo) & (key_I1W < first_IA1 + side.tile + side.halo)
    seen_IAW = near & (key_I1W >= 0) & (key_I1W < side.size)
    return torch.where(seen_IAW | ~seen_IAW.any(-1, keepdim=True), 0.0, HIDDEN)
