"""Launching the Triton kernels of halo attention: geometry, tile sizes, scratch. Needs the optional package triton.

On layers of H0-H7 they spill at most 128 bytes of registers when compiled for sm_90 (tests/families).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from halosearch.families.halonet.attention import triton_kernels
from halosearch.families.halonet.attention.call import Inputs, Shape

SMALLEST = 16
"""Smallest side of a tensor-core product."""
QUERIES = 64
"""Most query slots of a tile."""
WIDE = 128
"""Padded channels of q and v together above which a program gets 8 warps instead of 4."""
PARTIAL_BYTES = 1 << 26
"""Room for the programs' parts of the tables' gradients; more images than fit are launched one group after another."""
GRID_COST = 1.1
"""How many times the tiles a grid may take."""
FOLD_POSITIONS, FOLD_CHANNELS = 16, 128


@dataclass(frozen=True, slots=True)
class Tiling:
    """Queries and key slots of a tile, warps and pipeline stages of a kernel, and whether slots are rows of a grid."""

    queries: int
    keys: int
    warps: int
    stages: int
    grid: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """The sizes of one call; `constants` are what the kernels are compiled for."""

    height: int
    width: int
    out_height: int
    out_width: int
    heads: int
    block_size: int
    halo_size: int
    stride: int
    channels: int
    values: int

    @property
    def window(self) -> int:
        """Positions a side of a window."""
        return self.block_size + 2 * self.halo_size

    @property
    def side(self) -> int:
        """Query slots a side of a block."""
        return -(-self.block_size // self.stride)

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks down and across."""
        return -(-self.height // self.block_size), -(-self.width // self.block_size)

    @property
    def whole(self) -> bool:
        """Whether one tile holds the queries of a block, so that one kernel does all of backward."""
        return self.side**2 <= QUERIES and _padded(self.channels) + _padded(self.values) <= WIDE

    def query_tiles(self, kernel: str) -> int:
        """Programs for the queries of a block."""
        return -(-(self.side**2) // tiling(self, kernel).queries)

    def constants(self, kernel: str) -> dict[str, int]:
        """Compile-time constants of a kernel."""
        chosen = tiling(self, kernel)
        return {
            "DP": _padded(self.channels),
            "DVP": _padded(self.values),
            "WP": _padded(self.window),
            "R2": _padded(2 * self.window - 1),
            "BM": chosen.queries,
            "BN": chosen.keys,
            "GRID": chosen.grid,
        }

    def options(self, kernel: str) -> dict[str, Any]:
        """Constants and launch options."""
        chosen = tiling(self, kernel)
        return {**self.constants(kernel), "num_warps": chosen.warps, "num_stages": chosen.stages}


def tiling(problem: Problem, kernel: str) -> Tiling:
    """Tile of `forward`, `backward` (all of it at once), `queries` or `keys`.

    Chosen on an H100 among 42, on stages 1 and 3 of H0 and H4 (benchmarks/gpu-h100.md). Wide heads and windows over 16 positions were
    not timed: theirs are tiles that spill few registers.
    """
    d, values = _padded(problem.channels), _padded(problem.values)
    rows, fewer = min(QUERIES, _padded(problem.side**2)), min(32, _padded(problem.side**2))
    if d + values > WIDE:
        if kernel == "forward":
            return Tiling(rows, 64, 8, 2, _grid_pays(problem, 64))
        return Tiling(rows if kernel == "queries" else fewer, 32, 8, 1, _grid_pays(problem, 32))
    if kernel == "forward":
        return Tiling(rows, 64, 4, 3, _grid_pays(problem, 64))
    if kernel == "backward":
        return Tiling(rows, 64 if d == 32 and values == 32 else 32, 4, 1, grid=False)
    if kernel == "queries":
        return Tiling(rows, 32, 4, 1, _grid_pays(problem, 32))
    if d + values == 2 * SMALLEST:
        return Tiling(rows, 64, 4, 1, grid=False)
    slots = 64 if _padded(problem.window) == SMALLEST else 32
    return Tiling(fewer, slots, 4, 1, _grid_pays(problem, slots))


@lru_cache(maxsize=1024)
def _grid_pays(problem: Problem, keys: int) -> bool:
    """Whether rows of a grid take at most a tenth more tiles than the keys inside the map."""
    down, across = (
        [
            min(first + problem.block_size + problem.halo_size, side) - max(first - problem.halo_size, 0)
            for first in range(0, side, problem.block_size)
        ]
        for side in (problem.height, problem.width)
    )
    row = _padded(problem.window)
    if row > keys:  # a tile is whole rows
        return False
    exact = sum(math.ceil(rows * columns / keys) for rows in down for columns in across)
    return len(across) * sum(math.ceil(rows * row / keys) for rows in down) <= GRID_COST * exact


def _padded(size: int) -> int:
    return max(SMALLEST, 1 << (size - 1).bit_length())


def _prepared(inputs: Inputs, shape: Shape) -> tuple[Problem, tuple[Tensor, ...]]:
    """What the kernels read for q, k, v and the tables: rows whole, blocks and tables clipped to the map."""
    heads, block_size, halo_size, stride = shape
    q, k, v = (each if each.stride(3) == 1 else each.contiguous() for each in inputs[:3])
    height, width, channels = k.shape[1:]
    block = min(block_size, max(height, width))
    sizes = (height, width, q.shape[1], q.shape[2], heads, block, halo_size, stride)
    problem = Problem(*sizes, channels // heads, v.shape[3] // heads)
    return problem, (q, k, v, *(_clipped(each, block_size, halo_size, block).contiguous() for each in inputs[3:]))


def _clipped(table: Tensor, block_size: int, halo_size: int, to: int) -> Tensor:
    """The rows of a nominal table that a block clipped to `to` positions uses."""
    return table[block_size - to : block_size - to + 2 * (to + 2 * halo_size) - 1]


def forward(inputs: Inputs, shape: Shape) -> tuple[Tensor, Tensor]:
    """Output (N, P, Q, G·E) and the base-2 logarithms of the softmax sums (N, G, P, Q)."""
    q, k, v, *_ = inputs
    problem, read = _prepared(inputs, shape)
    images, (down, across), heads = k.shape[0], problem.blocks, problem.heads
    out = v.new_empty(images, problem.out_height, problem.out_width, v.shape[3])
    sums = q.new_empty(images, heads, problem.out_height, problem.out_width, dtype=torch.float32)
    triton_kernels.forward_kernel[down * across * heads, problem.query_tiles("forward"), images](
        *read, out, sums, *_strides(*read[:3], out), *_sizes(problem), **problem.options("forward")
    )
    return out, sums


def backward(
    g: Tensor, inputs: Inputs, given: tuple[Tensor, Tensor], shape: Shape
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the two tables; `given`: what `forward` gave.

    Those of k and v, and without a stride of q before them, lie beside each other in one map, as they do in a projection's output.
    """
    g, out, sums = g.contiguous(), given[0].contiguous(), given[1].contiguous()
    q, k, v, rel_height, rel_width = inputs
    problem, read = _prepared(inputs, shape)
    images, (down, across), heads = k.shape[0], problem.blocks, problem.heads
    blocks, kernel = down * across * heads, "backward" if problem.whole else "queries"
    constants, (dq, dk, dv) = problem.constants(kernel), _beside(q, k, v)
    windows = (images, down, across, problem.window, problem.window, heads)
    d_windows = k.new_empty(*windows, problem.channels), v.new_empty(*windows, problem.values)
    strides, sizes = _strides(*read[:3], g), _sizes(problem)
    programs, table = problem.query_tiles(kernel) * blocks, (2, constants["R2"], constants["DP"])
    together = min(images, max(1, PARTIAL_BYTES // (programs * math.prod(table) * 4)))
    d_tables, delta = sums.new_zeros(table), torch.empty_like(sums)
    launch = triton_kernels.backward_kernel if problem.whole else triton_kernels.backward_queries_kernel
    written = (dq, *d_windows) if problem.whole else (delta, dq)
    for first in range(0, images, together):
        group = min(together, images - first)
        partials = sums.new_empty(group * programs, *table)
        launch[blocks, problem.query_tiles(kernel), group](
            *read, out, g, sums, *written, partials, *strides, dq.stride(2), first, *sizes, **problem.options(kernel)
        )
        d_tables += partials.sum(0)
    if not problem.whole:
        tile = tiling(problem, "keys")
        tiles = -(-problem.window * (_padded(problem.window) if tile.grid else problem.window) // tile.keys)
        triton_kernels.backward_keys_kernel[blocks, tiles, images](
            *read, g, sums, delta, *d_windows, *strides, *sizes, **problem.options("keys")
        )
    d_height, d_width = (
        _unclipped(each[: 2 * problem.window - 1, : problem.channels], like, shape.block_size - problem.block_size)
        for each, like in zip(d_tables, (rel_height, rel_width), strict=True)
    )
    for d_window, folded in zip(d_windows, (dk, dv), strict=True):
        _fold(d_window, folded, problem)
    return dq, dk, dv, d_height, d_width


def _beside(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the gradients of q, k and v."""
    widths = [q.shape[3], k.shape[3], v.shape[3]]
    if q.shape[:3] == k.shape[:3]:
        dq, dk, dv = k.new_empty(*k.shape[:3], sum(widths)).split(widths, 3)
        return dq, dk, dv
    dk, dv = k.new_empty(*k.shape[:3], sum(widths[1:])).split(widths[1:], 3)
    return q.new_empty(q.shape), dk, dv


def _strides(*maps: Tensor) -> tuple[int, ...]:
    return tuple(stride for each in maps for stride in each.stride()[:3])


def _sizes(problem: Problem) -> tuple[Any, ...]:
    p = problem
    geometry = (p.block_size, p.halo_size, p.stride, p.side, p.window)
    return (
        p.height,
        p.width,
        p.out_height,
        p.out_width,
        *p.blocks,
        p.heads,
        *geometry,
        p.channels,
        p.values,
        p.channels**-0.5,
    )


def _unclipped(d_table: Tensor, like: Tensor, cut: int) -> Tensor:
    whole = torch.zeros_like(like, memory_format=torch.contiguous_format)
    whole[cut : cut + d_table.shape[0]] = d_table
    return whole


def _fold(windows: Tensor, folded: Tensor, problem: Problem) -> None:
    """Sum the windows' gradients on the map."""
    channels = folded.shape[3]
    width = min(FOLD_CHANNELS, _padded(channels))
    grid = (-(-problem.height * problem.width // FOLD_POSITIONS), -(-channels // width), folded.shape[0])
    triton_kernels.fold_kernel[grid](
        windows,
        folded,
        folded.stride(2),
        problem.height,
        problem.width,
        *problem.blocks,
        problem.block_size,
        problem.halo_size,
        problem.window,
        channels,
        CP=width,
        REACH=-(-problem.halo_size // problem.block_size),
        BP=FOLD_POSITIONS,
    )
