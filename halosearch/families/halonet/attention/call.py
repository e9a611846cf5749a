"""What every backend is called with: five tensors, and four numbers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """Queries, keys, values and the two relative tables; see `halo_attention` for their shapes."""

    q: Tensor
    k: Tensor
    v: Tensor
    rel_height: Tensor
    rel_width: Tensor


class Shape(NamedTuple):
    """Heads; positions a side of a block of queries; positions that a halo adds on every side; 2 in the downsampling layers."""

    heads: int
    block_size: int
    halo_size: int
    stride: int = 1

    @property
    def window(self) -> int:
        """Positions a side of a window."""
        return self.block_size + 2 * self.halo_size
