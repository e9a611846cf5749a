"""Where the blocks, windows and queries of one map axis lie: index arithmetic without data, cached per geometry.

A map of `size` positions is cut into blocks; a block larger than the map is clipped to it, so one block is exactly global
attention. Block i covers positions [i·tile, (i+1)·tile) and attends to the window [i·tile - halo, (i+1)·tile + halo).
Under stride 2 the queries are the even positions of the map; blocks of odd size then hold a varying number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils._python_dispatch import _disable_current_modes

from halosearch.families.halonet.attention.call import Shape


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a map: I blocks of A query slots each, windows of W positions; R = rows of the output.

    `regular`: the slots, in order, are the first I·A rows of the (padded) output, so no gather is needed.
    """

    size: int
    tile: int
    halo: int
    blocks: int
    slots: int
    window: int
    out: int
    regular: bool
    table_RELATIVE_IAW: torch.Tensor
    visible_IW: torch.Tensor
    query_row_IA: torch.Tensor
    slot_of_row_R: torch.Tensor

    @property
    def pad_after(self) -> int:
        """Positions to add behind the map so that every window is whole (the halo itself comes before and after)."""
        return self.blocks * self.tile - self.size


def nominal_macs(k_shape: Sequence[int], values: int, shape: Shape) -> int:
    """Multiply-adds of the explicit form on keys of `k_shape` (N, H, W, G·D) and values of `values` channels.

    Whole windows on padded maps: scores, weighted values, and the relative logits, which do not depend on `heads`.
    """
    images, height, width, channels = (int(each) for each in k_shape)
    heads, block_size, halo_size, stride = shape
    assert channels % heads == 0
    queries, pairs, window = images, images, 0
    for size in (height, width):
        tile = min(block_size, size)
        slots = -(-size // tile) * -(-tile // stride)
        queries, pairs, window = queries * slots, pairs * slots * (tile + 2 * halo_size), window + tile + 2 * halo_size
    return pairs * (channels + values) + queries * window * channels


@lru_cache(maxsize=512)
def axis(size: int, block_size: int, halo_size: int, stride: int, device: torch.device) -> Axis:
    """Geometry of a `size`-long axis under blocks of `block_size`, halos of `halo_size` and queries every `stride`.

    `table_RELATIVE_IAW` indexes a relative table of 2·(block_size + 2·halo_size) - 1 rows: position of the key in its window
    minus position of the query in its block, plus the window's length minus one, in positions of the stride-1 map.
    """
    # What is cached must serve training, too, and real calls after one under an exporter or with fake tensors.
    with torch.inference_mode(mode=False), _disable_current_modes():
        return _axis(size, block_size, halo_size, stride, device)


def _axis(size: int, block_size: int, halo_size: int, stride: int, device: torch.device) -> Axis:
    """What `axis` keeps."""
    tile = min(block_size, size)
    blocks, slots = -(-size // tile), -(-tile // stride)
    starts_I = torch.arange(blocks) * tile
    first_I = -(-starts_I // stride) * stride
    position_IA = first_I[:, None] + stride * torch.arange(slots)
    key_IW = starts_I[:, None] - halo_size + torch.arange(tile + 2 * halo_size)
    offset_IAW = key_IW[:, None, :] - position_IA[:, :, None]
    nominal = block_size + 2 * halo_size
    table_IAW = (offset_IAW + halo_size + nominal - 1).clamp(0, 2 * nominal - 2)
    out = -(-size // stride)
    row_positions_R = torch.arange(out) * stride
    block_R = row_positions_R // tile
    slot_R = block_R * slots + (row_positions_R - first_I[block_R]) // stride
    query_row_IA = (position_IA // stride).clamp(max=out - 1)
    return Axis(
        size,
        tile,
        halo_size,
        blocks,
        slots,
        tile + 2 * halo_size,
        out,
        bool((slot_R == torch.arange(out)).all()),
        table_IAW.to(device),
        ((key_IW >= 0) & (key_IW < size)).to(device),
        query_row_IA.to(device),
        slot_R.to(device),
    )
