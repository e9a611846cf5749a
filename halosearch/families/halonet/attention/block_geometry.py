"""How the fast paths cut one axis of the map: fewer keys than the nominal windows, and one rule for all of them.

The reference computes every query of every block against its whole nominal window (`windows.Axis`). Padded keys are masked,
so leaving them out changes nothing: here windows end where the map ends, a map of two blocks has windows of b + h positions,
and neighbouring blocks may share one wider window with a mask for each query (all of them on a small map, which then has no
windows at all; two of them where an odd block would hold a varying number of strided queries). Every cut is affine: slot a
of cut i is position i·tile + stride·a, and its window begins at i·step - before, so views with fixed strides describe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class BlockGeometry:
    """One axis: `blocks` cuts of `slots` queries and `window` keys, of blocks `tile` and halos `halo` positions wide.

    `nominal` is the window of the relative tables, `merged` the blocks of a cut.

    The key of window position w lies at offset `shift` + w - stride·a + i·(step - tile) in a relative table to which
    `grow_before` and `grow_after` rows were added, so that no offset leaves it.
    """

    size: int
    tile: int
    halo: int
    nominal: int
    merged: int
    out: int
    blocks: int
    slots: int
    window: int
    step: int
    before: int
    after: int
    stride: int
    skip: int
    shift: int
    grow_before: int
    grow_after: int

    @property
    def table(self) -> int:
        """Rows of the grown relative table."""
        return 2 * self.nominal - 1 + self.grow_before + self.grow_after

    @property
    def pairs(self) -> int:
        """Products of a query slot with a key along this axis."""
        return self.blocks * self.slots * self.window


def geometry_of(size: int, block_size: int, halo_size: int, stride: int) -> BlockGeometry:
    """The affine cut of an axis with the fewest pairs; of two equals, the one with fewer blocks. See `block_geometry`."""
    tile = min(block_size, size)
    blocks = -(-size // tile)
    candidates = [_merged(size, tile, merge, block_size, halo_size, stride) for merge in sorted({1, 2, blocks})]
    affine = [each for each in candidates if each is not None]
    return sorted(affine, key=lambda each: (each.pairs, each.blocks))[0]  # compilers trace sorted, but not min


block_geometry = lru_cache(maxsize=512)(geometry_of)


def _merged(size: int, tile: int, merge: int, block_size: int, halo_size: int, stride: int) -> BlockGeometry | None:
    """Cuts of `merge` blocks each; None where their queries would not be affine."""
    wide = tile * merge
    blocks = -(-size // wide)
    if blocks > 1 and wide % stride:
        return None
    out = -(-size // stride)
    slots = out if blocks == 1 else wide // stride
    window, step, before = _windows(size, wide, blocks, halo_size)
    nominal = block_size + 2 * halo_size
    lowest = min(0, (blocks - 1) * (step - wide)) - stride * (slots - 1)
    highest = max(0, (blocks - 1) * (step - wide)) + window - 1
    centre = halo_size + nominal - 1 - before
    grow_before = max(0, -(centre + lowest))
    return BlockGeometry(
        size=size,
        tile=tile,
        halo=halo_size,
        nominal=nominal,
        merged=merge,
        out=out,
        blocks=blocks,
        slots=slots,
        window=window,
        step=step,
        before=before,
        after=max(0, (blocks - 1) * step - before + window - size),
        stride=stride,
        skip=step - wide if blocks > 1 else 0,
        shift=centre + grow_before,
        grow_before=grow_before,
        grow_after=max(0, centre + highest - (2 * nominal - 2)),
    )


def _windows(size: int, wide: int, blocks: int, halo_size: int) -> tuple[int, int, int]:
    """Length of a window, distance of two, and how far the first begins before the map."""
    if blocks == 1:
        return size, 0, 0
    if blocks == 2:
        window = min(wide + halo_size, size)
        return window, max(0, min(wide - halo_size, size - window)), 0
    return wide + 2 * halo_size, wide, halo_size
