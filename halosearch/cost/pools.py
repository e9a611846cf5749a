"""The candidates that a study's budget admits, of whatever family: HaloNets by the fast enumeration, others one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from halosearch.cost.candidate_pool import Limits, candidate_pool, twin_macs
from halosearch.errors import InfeasibleError, UsageError
from halosearch.families.halonet.space import HaloNetSpace
from halosearch.families.known import Config, count, search_of, twin_of
from halosearch.families.search_space import Search, SearchSpace
from halosearch.spec.study import StudySpec

SIZE = "image_size"


def pool_of(spec: StudySpec) -> pd.DataFrame:
    """The rows that a study's budget admits.

    Raises:
        InfeasibleError: none.
    """
    limits = Limits(spec.budget.params, spec.budget.tolerance, spec.budget.max_macs)
    return pool_within(spec.family, spec.search_space(), limits)


def pool_within(family: str, space: SearchSpace, limits: Limits) -> pd.DataFrame:
    """Every candidate of a family's space within limits: a column per dial, then params, macs, activations; always in the same order.

    Raises:
        InfeasibleError: none.
    """
    if isinstance(space, HaloNetSpace):
        return candidate_pool(space, limits)
    search = search_of(family)
    rows: dict[Config, dict[str, Any]] = {}
    all_params: set[int] = set()
    all_macs: list[int] = []
    low, high = limits.params_range()
    for shape, params in _shapes(search, space):
        all_params |= set(params)
        if max(params) < low or min(params) > high:
            continue
        for size in space.image_size:
            config = search.config({**shape, SIZE: size})
            cost = count(config)
            if not low <= cost.params <= high:
                continue
            all_macs.append(cost.macs)
            if limits.max_macs is None or cost.macs <= limits.max_macs:
                rows.setdefault(config, {**shape, SIZE: size, **asdict(cost)})
    if not rows:
        raise _nothing_fits(limits, sorted(all_params), all_macs)
    found = pd.DataFrame(list(rows.values()))
    return found[[*space.dials(), "params", "macs", "activations"]]


def _shapes(search: Search, space: SearchSpace) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """All dials but the image size, with the parameters at the smallest and the largest image, between which they do not turn back.

    Shapes that no network has are left out.
    """
    values = {name: getattr(space, name) for name in space.dials() if name != SIZE}
    for choice in itertools.product(*values.values()):
        shape = dict(zip(values, choice, strict=True))
        try:
            ends = [search.config({**shape, SIZE: size}) for size in (space.image_size[0], space.image_size[-1])]
        except UsageError:
            continue
        yield shape, tuple(count(config).params for config in ends)


def _nothing_fits(limits: Limits, params: list[int], macs: list[int]) -> InfeasibleError:
    if macs:
        return InfeasibleError(
            f"no candidate has at most {limits.max_macs:,} MACs under this parameter budget",
            f"the least is {min(macs):,}: try --budget-macs {math.ceil(min(macs) / 1e7) / 100:.2f}G",
        )
    if not params:
        return InfeasibleError("no combination of this space's dials can be built", "widen the space")
    wanted = limits.params or 0
    near = [*[each for each in params if each <= wanted][-1:], *[each for each in params if each > wanted][:1]]
    return InfeasibleError(
        f"no candidate has {wanted:,} parameters within {100 * limits.tolerance:g} %; the smallest feasible budget is "
        f"{params[0]:,}, the largest {params[-1]:,}",
        f"nearest feasible: {' and '.join(f'{each:,}' for each in near)} parameters; try --budget-params {near[-1]}",
    )


def pool_twin_macs(family: str, rows: pd.DataFrame, width_multiplier: float) -> np.ndarray:
    """MACs of every row's narrow twin, int64: what an image of its training costs, but for a factor."""
    search = search_of(family)
    if search.space is HaloNetSpace:
        return twin_macs(rows, width_multiplier)
    records: list[Any] = rows.to_dict("records")
    twins = (twin_of(search.config(row), width_multiplier) for row in records)
    return np.array([count(twin).macs for twin in twins], dtype=np.int64)
