"""The HaloNets that a budget admits, enumerated exactly, with exact costs.

Parameters are a sum of two parts: the body (ratios, depth, final width) and the relative tables (window, heads, depth).
So the pool is found from two small tables, and only its own rows are ever written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from halosearch.errors import InfeasibleError
from halosearch.families.halonet.config import ATTENTION, PUBLISHED_HEADS, STAGES, heads_by_width
from halosearch.families.halonet.counts import Dials, total
from halosearch.families.halonet.space import BY_WIDTH, DIALS, MAX_PADDING_WASTE, WHOLE_MAP, HaloNetSpace, stage_kinds
from halosearch.families.layers import up

CHUNK = 16_384
"""Rows counted at a time: the columns of a chunk stay in the second-level cache (3x faster than one pass over 10^6 rows)."""
MAX_ROWS = 8_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a budget admits: parameters within `tolerance` of `params` (None: any), MACs up to `max_macs` (None: any)."""

    params: int | None
    tolerance: float = 0.05
    max_macs: int | None = None

    def params_range(self) -> tuple[int, int]:
        """Smallest and largest admitted parameter count."""
        if self.params is None:
            return 0, 2**62
        low, high = self.params * (1 - self.tolerance), self.params * (1 + self.tolerance)
        return int(np.ceil(low - 1e-6)), int(np.floor(high + 1e-6))


def geometries(space: HaloNetSpace, conv_stages: int) -> pd.DataFrame:
    """Canonical (image size, block, halo, heads) rows without duplicates, padding waste within bounds."""
    sizes = np.array(space.image_size, dtype=np.int64)
    side = -(-sizes // 4) if conv_stages < 2 else -(-sizes // 2 ** (conv_stages + 1))
    blocks = np.array([2**31 if b == WHOLE_MAP else b for b in space.block_size], dtype=np.int64)
    halos = np.array(space.halo_size, dtype=np.int64)
    grid = np.stack(np.meshgrid(np.arange(len(sizes)), blocks, halos, np.arange(len(space.heads)), indexing="ij"), -1)
    index, block, halo, heads = grid.reshape(-1, 4).T
    if conv_stages >= STAGES:
        block, halo, heads = np.ones_like(block), np.zeros_like(halo), np.zeros_like(heads)
    else:
        whole = block >= side[index]
        block, halo = np.where(whole, side[index], block), np.where(whole, 0, halo)
    rows = np.unique(np.stack([sizes[index], block, halo, heads], -1), axis=0)
    rows = rows[padding_waste(rows[:, 0], rows[:, 1], conv_stages) <= MAX_PADDING_WASTE]
    return pd.DataFrame(rows, columns=["image_size", "block_size", "halo_size", "heads"])


def padding_waste(image_size: np.ndarray, block_size: np.ndarray, conv_stages: int) -> np.ndarray:
    """Largest share of extra positions over the maps that attention reads, (rows,) floats."""
    side = up(up(image_size, 2), 2)
    worst = np.zeros(len(image_size))
    for stage in range(STAGES):
        out = -(-side // 2) if stage else side
        if stage >= conv_stages:
            for read in (side, out):  # the first layer of a stage reads the map of the stage before
                tile = np.minimum(block_size, read)
                worst = np.maximum(worst, (-(-read // tile) * tile / read) ** 2 - 1)
        side = out
    return worst


def _bodies(space: HaloNetSpace, conv_stages: int) -> dict[str, np.ndarray]:
    """Canonical (value ratio, expansion ratio, stage-3 depth, final width) columns."""
    values = (1.0,) if conv_stages >= STAGES else space.value_ratio
    grid = np.meshgrid(values, space.expansion_ratio, space.stage3_depth, space.final_width, indexing="ij")
    rv, rb, l3, df = (axis.ravel() for axis in grid)
    df = df.astype(np.int64)
    df = np.where(df == (rb * 512).astype(np.int64), 0, df)
    rows = np.unique(np.stack([rv, rb, l3, df], -1), axis=0)
    keep = np.ones(len(rows), dtype=bool)
    for stage in range(STAGES):
        for column in (0, 1):
            width = rows[:, column] * 64 * 2**stage
            keep &= width == np.floor(width)
    rows = rows[keep]
    return {
        "value_ratio": rows[:, 0].astype(np.float32),
        "expansion_ratio": rows[:, 1].astype(np.float32),
        "stage3_depth": rows[:, 2].astype(np.int32),
        "final_width": rows[:, 3].astype(np.int32),
    }


def _heads(name: Any) -> tuple[int, int, int, int]:
    return heads_by_width() if name == BY_WIDTH else PUBLISHED_HEADS


def _dials(columns: dict[str, Any], heads: tuple[int, int, int, int], conv_stages: int) -> Dials:
    kinds = stage_kinds(conv_stages)
    used: Any = tuple(n if kind == ATTENTION else 1 for n, kind in zip(heads, kinds, strict=True))
    return Dials(
        columns["image_size"],
        columns["block_size"],
        columns["halo_size"],
        1.0,
        columns["value_ratio"],
        columns["expansion_ratio"],
        (3, 3, columns["stage3_depth"], 3),
        columns["final_width"],
        used,
        kinds,
    )


def _with_heads(columns: dict[str, np.ndarray], conv: int, heads: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    """The bodies whose value channels the heads of every attention stage divide."""
    keep = np.ones(len(columns["value_ratio"]), dtype=bool)
    for stage in range(conv, STAGES):
        keep &= (columns["value_ratio"] * (64 << stage)).astype(np.int64) % heads[stage] == 0
    return {name: column[keep] for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class _Bodies:
    """Bodies of one (conv stages, heads) with their parameters, which are linear in the window: base + slope x window."""

    columns: dict[str, np.ndarray]
    base: np.ndarray
    slope: np.ndarray


def _bodies_with_params(space: HaloNetSpace, conv: int, heads: tuple[int, int, int, int]) -> _Bodies:
    columns = _with_heads(_bodies(space, conv), conv, heads)
    wide = {name: column.astype(float if name.endswith("ratio") else np.int64) for name, column in columns.items()}
    same = np.ones(len(columns["stage3_depth"]), dtype=np.int64)
    at = [
        total(
            _dials({"image_size": 64 * same, "block_size": window * same, "halo_size": 0 * same, **wide}, heads, conv)
        ).params
        for window in (1, 2)
    ]
    return _Bodies(columns, 2 * at[0] - at[1], at[1] - at[0])


def _families(space: HaloNetSpace) -> Iterator[tuple[int, int, pd.DataFrame, _Bodies]]:
    """(conv stages, index of heads, geometries with their window, bodies) of every part of the space."""
    for conv in space.conv_stages:
        geometry = geometries(space, conv)
        geometry["window"] = geometry["block_size"] + 2 * geometry["halo_size"]
        for head, group in ((int(str(key)), part) for key, part in geometry.groupby("heads")):
            bodies = _bodies_with_params(space, conv, _heads(space.heads[head]))
            if len(bodies.base):
                yield conv, head, group, bodies


def _parts(space: HaloNetSpace, limits: Limits) -> Iterator[pd.DataFrame]:
    """Admitted rows by (conv stages, heads, window): parameters depend on a geometry through its window only."""
    low, high = limits.params_range()
    for conv, head, geometry, bodies in _families(space):
        for window, group in ((int(str(key)), part) for key, part in geometry.groupby("window")):
            params = bodies.base + bodies.slope * window
            found = np.flatnonzero((params >= low) & (params <= high))
            part = {
                name: np.repeat(group[name].to_numpy().astype(np.int32), len(found))
                for name in ("image_size", "block_size", "halo_size")
            }
            part |= {name: np.tile(column[found], len(group)) for name, column in bodies.columns.items()}
            yield pd.DataFrame(part).assign(heads=np.int8(head), conv_stages=np.int8(conv))


def dials_of_rows(rows: pd.DataFrame) -> Iterator[tuple[np.ndarray, Dials]]:
    """Positions and dials of rows, in chunks that share heads and stage kinds. `heads` is "published" or "width"."""
    keys = rows["heads"].astype(str).to_numpy() == BY_WIDTH
    groups = 2 * rows["conv_stages"].to_numpy().astype(np.int64) + keys
    numeric = {name: rows[name].to_numpy() for name in DIALS if name not in ("heads", "conv_stages")}
    for group in np.unique(groups):
        index = np.flatnonzero(groups == group)
        for start in range(0, len(index), CHUNK):
            at = index[start : start + CHUNK]
            chunk = {
                name: column[at].astype(float if name.endswith("ratio") else np.int64)
                for name, column in numeric.items()
            }
            yield at, _dials(chunk, _heads(BY_WIDTH if group % 2 else ""), int(group) // 2)


def count_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Params, MACs and activations (int64) of every row of dials, in the rows' order. Exact: integer arithmetic throughout."""
    out = np.empty((len(rows), 3), dtype=np.int64)
    for at, dials in dials_of_rows(rows):
        cost = total(dials)
        out[at, 0], out[at, 1], out[at, 2] = cost.params, cost.macs, cost.activations
    return pd.DataFrame(out, columns=["params", "macs", "activations"], index=rows.index)


def twin_macs(rows: pd.DataFrame, width_multiplier: float) -> np.ndarray:
    """MACs of every row's narrow twin (see `halonet.twin`), int64: what an image of its training costs, but for a factor."""
    out = np.empty(len(rows), dtype=np.int64)
    for at, dials in dials_of_rows(rows):
        final = np.where(dials.final_width > 0, np.maximum(8, np.rint(dials.final_width * width_multiplier)), 0).astype(
            np.int64
        )
        twin = replace(dials, base_width=round(dials.base_width * width_multiplier), final_width=final)
        out[at] = total(twin).macs
    return out


def candidate_pool(space: HaloNetSpace, limits: Limits) -> pd.DataFrame:
    """Every candidate of `space` within `limits`: one row each, a column per dial, then params, macs, activations.

    Rows are canonical, unique and always in the same order for the same space and limits.

    Raises:
        InfeasibleError: no row, naming the nearest feasible budgets; or more rows than fit in memory.
    """
    parts, size = [], 0
    for part in _parts(space, limits):
        size += len(part)
        if size > MAX_ROWS:
            raise InfeasibleError(
                f"the budget admits more than {MAX_ROWS:,} candidates", "narrow the space or the tolerance"
            )
        parts.append(part)
    if not parts:
        raise InfeasibleError(
            "no combination of this space's dials can be built",
            "ratios times 64 must be whole numbers that the heads divide, and blocks must tile the maps",
        )
    rows = pd.concat(parts, ignore_index=True)
    codes = [int(code) for code in rows["heads"].unique()]
    rows["heads"] = rows["heads"].astype("category").cat.rename_categories({code: space.heads[code] for code in codes})
    rows = pd.concat([rows[list(DIALS)], count_rows(rows)], axis=1)
    admitted = rows if limits.max_macs is None else rows[rows["macs"] <= limits.max_macs]
    if admitted.empty:
        raise _nothing_fits(space, limits, rows)
    return admitted.reset_index(drop=True)


def _nothing_fits(space: HaloNetSpace, limits: Limits, before_macs: pd.DataFrame) -> InfeasibleError:
    if len(before_macs):
        least = int(before_macs["macs"].min())
        return InfeasibleError(
            f"no candidate has at most {limits.max_macs:,} MACs under this parameter budget",
            f"the least is {least:,}: try --budget-macs {least / 1e9 + 0.01:.2f}G",
        )
    assert limits.params is not None
    least, below, above, most = _nearest_params(space, limits.params)
    near = [f"{count:,}" for count in (below, above) if count is not None]
    return InfeasibleError(
        f"no candidate has {limits.params:,} parameters within {100 * limits.tolerance:g} %; the smallest feasible budget is "
        f"{least:,}, the largest {most:,}",
        f"nearest feasible: {' and '.join(near)} parameters; try --budget-params {below if above is None else above}",
    )


def _nearest_params(space: HaloNetSpace, target: int) -> tuple[int, int | None, int | None, int]:
    """Least feasible parameter count, the nearest at or below `target`, the nearest above it, the most."""
    least, below, above, most = 2**62, -1, 2**62, 0
    for _, _, geometry, bodies in _families(space):
        for window in geometry["window"].unique():
            params = bodies.base + bodies.slope * int(window)
            least, most = min(least, int(params.min())), max(most, int(params.max()))
            below = max(below, int(params[params <= target].max(initial=-1)))
            above = min(above, int(params[params > target].min(initial=2**62)))
    return least, None if below < 0 else below, None if above == 2**62 else above, most
