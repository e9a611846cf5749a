"""Who takes part: every way of searching that the comparison is between."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from halosearch.bench.families import FAMILIES
from halosearch.bench.outside import Counts, OutOfTheBox
from halosearch.bench.simulate import Asked, InPool, Replay, Search, Until, replay_asked, replay_in_pool
from halosearch.bench.table import Table
from halosearch.cost.candidate_pool import twin_macs
from halosearch.errors import EnvironmentFault, HalosearchError
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.space import DIALS, config_from_dials
from halosearch.search.design import trial_seconds


@dataclass(frozen=True, slots=True)
class Outside:
    """One of Optuna's samplers on the whole space, told of the budget as a constraint or, with `reject`, asked again."""

    sampler: str
    reject: bool
    max_asks: int


@dataclass(frozen=True, slots=True)
class Botorch:
    """BoTorch's qLogEHVI over the same pool; needs the extra `botorch`."""


ETA = 4
OURS = "pool"
CONTENDERS: dict[str, InPool | Outside | Botorch] = {
    OURS: InPool("pool"),
    "pool, rungs": InPool("pool", eta=ETA),
    "pool, blind to seconds": InPool("pool", knows_seconds=False),
    "pool, no even share": InPool("pool", uniform_share=0.0),
    "random in pool": InPool("random"),
    "random in pool, top quarter of a short rung": InPool("random", eta=ETA),
    "evolution in pool (NSGA-II)": InPool("nsga2"),
    "TPE in pool": InPool("tpe"),
    "GP in pool": InPool("gp"),
    "BoTorch qLogEHVI in pool": Botorch(),
    "Optuna random": Outside("random", reject=False, max_asks=2_000),
    "Optuna TPE": Outside("tpe", reject=False, max_asks=500),
    "Optuna NSGA-II": Outside("nsga2", reject=False, max_asks=5_000),
    "Optuna GP": Outside("gp", reject=False, max_asks=40),
    "Optuna TPE, rejection": Outside("tpe", reject=True, max_asks=500),
    "Optuna NSGA-II, rejection": Outside("nsga2", reject=True, max_asks=2_000),
}
NEEDS_BOTORCH = tuple(name for name, kind in CONTENDERS.items() if isinstance(kind, Botorch))
OUT_OF_THE_BOX = tuple(name for name, kind in CONTENDERS.items() if isinstance(kind, Outside) and not kind.reject)


def available() -> list[str]:
    """The contenders that can run here: all, or all that do without BoTorch."""
    return [name for name in CONTENDERS if name not in NEEDS_BOTORCH or find_spec("botorch") is not None]


def run(name: str, table: Table, seed: int, workers: int, until: Until) -> Replay:
    """Replay one contender."""
    contender = CONTENDERS[name]
    if isinstance(contender, InPool):
        return replay_in_pool(contender, table, Search(seed, workers), until, expected_seconds(table))
    if isinstance(contender, Botorch):
        found = _botorch()(table, seed)
        return replay_asked(Asked(found.ask, found.tell, len(table.rows)), table, Search(seed, workers), until)
    search = OutOfTheBox(contender.sampler, table, counts_in(table), seed, reject=contender.reject)
    return replay_asked(Asked(search.ask, search.tell, contender.max_asks), table, Search(seed, workers), until)


def _botorch() -> type[Any]:
    """The search by BoTorch.

    Raises:
        EnvironmentFault: BoTorch is installed and cannot be imported.
    """
    try:
        from halosearch.bench.botorch_search import BotorchSearch
    except Exception as error:
        raise EnvironmentFault(
            f"BoTorch cannot be imported: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "pip install --force-reinstall botorch, or name the contenders with --contender",
        ) from error
    return BotorchSearch


def expected_seconds(table: Table) -> np.ndarray:
    """What a search may know of its trials' seconds: what a study computes from MACs, not what was recorded."""
    if not _is_halonet(table):
        return trial_seconds(table.costs())
    return trial_seconds(twin_macs(table.rows, float(table.facts["preset"]["width_multiplier"])))


def counts_in(table: Table) -> Counts:
    """Parameters and MACs of feature combinations of this table's kind."""
    return _halonet_counts if _is_halonet(table) else FAMILIES[table.facts["family"]].counts


def _is_halonet(table: Table) -> bool:
    return set(DIALS) <= set(table.features)


def _halonet_counts(rows: pd.DataFrame) -> np.ndarray:
    return np.array([_counted({str(k): v for k, v in row.items()}) for row in rows.to_dict("records")], dtype=float)


def _counted(dials: dict[str, Any]) -> tuple[float, float]:
    try:
        cost = count(config_from_dials(dials).canonical())
    except HalosearchError:
        return -1.0, -1.0
    return float(cost.params), float(cost.macs)
