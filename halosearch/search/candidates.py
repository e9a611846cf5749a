"""The candidates of a study: its cell, what the record says was tried, the reference model, the published ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from halosearch.cost.candidate_pool import Limits, cell
from halosearch.errors import StoreError
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import DIALS, dials_from_config
from halosearch.record.store import FAILED, INFEASIBLE, PRUNED, Store, Trial
from halosearch.run.jobs import FINAL, RATE, REFERENCE, RETEST
from halosearch.run.loop import State
from halosearch.search.pool import Pool
from halosearch.search.sampler import Outcome
from halosearch.search.schedule import Move
from halosearch.spec.study import StudySpec

COSTS = ("params", "macs", "activations")
H_TOLERANCE = 0.05


def cell_of(spec: StudySpec) -> pd.DataFrame:
    """The rows that the study's budget admits.

    Raises:
        InfeasibleError: none.
    """
    return cell(spec.search_space(), Limits(spec.budget.params, spec.budget.tolerance, spec.budget.max_macs))


def row_costs(rows: pd.DataFrame, index: int) -> dict[str, int]:
    """Exact costs of a row as plain ints."""
    return {name: int(rows[name].iloc[index]) for name in COSTS}


def row_of(pool: Pool, trial: Trial) -> int:
    """The pool's row that a recorded trial took.

    Raises:
        StoreError: no such row: the record belongs to another space.
    """
    index = pool.nearest(trial.dials)
    if pool.params(index) != trial.dials:
        raise StoreError(
            f"trial {trial.number} is not in this study's cell",
            "the space or the counting rules changed: start another study with --name",
        )
    return index


def past(store: Store, pool: Pool, guide: str = "macs") -> State:
    """What the record says of earlier runs, for the loop."""
    state, moves = State(), list[Move]()
    for trial in store.trials():
        row, cost = row_of(pool, trial), float(trial.costs[guide])
        scores = tuple(float(rung["score"]) for rung in trial.result.get("scores", ()))
        for number, rung, known in trial.moves:
            moves.append(Move(number, trial.number, row, rung, known))
            if len(scores) > rung:
                state.outcomes[number] = Outcome(scores[: rung + 1], cost)
            elif trial.state in (FAILED, INFEASIBLE):
                state.outcomes[number] = Outcome(None)
        if trial.state == PRUNED:
            state.pruned.add(trial.number)
    state.moves = sorted(moves, key=lambda move: move.number)
    state.finished = {key for key in store.notes() if key.partition("-")[0] in (RETEST, REFERENCE, RATE, FINAL)}
    return state


def nearest_published(params: int) -> str:
    """The published model whose parameter count is nearest to a budget, by ratio."""
    models = {
        name: count(config).params for name, config in FAMILY.items() if name.startswith("h") and name[1:].isdigit()
    }
    return min(
        models, key=lambda name: abs(models[name] / params - 1) if models[name] >= params else params / models[name] - 1
    )


def reference_dials(pool: Pool, params: int) -> dict[str, Any]:
    """The pool's row nearest to the published model of this budget, its image size brought into the pool's range."""
    wish = dials_from_config(FAMILY[nearest_published(params)])
    assert wish is not None
    sizes = pool.rows["image_size"]
    wish["image_size"] = int(min(max(wish["image_size"], sizes.min()), sizes.max()))
    if wish["heads"] not in set(pool.rows["heads"].astype(str)):
        wish["heads"] = str(pool.rows["heads"].iloc[0])
    return {name: value for name, value in pool.params(pool.nearest(wish)).items() if name in DIALS}


def comparison_with_published(spec: StudySpec) -> list[str]:
    """One sentence for every H model near this budget: whether the study's cell holds it, and if not, why."""
    sentences = []
    low, high = Limits(spec.budget.params, spec.budget.tolerance).params_range()
    for name, config in FAMILY.items():
        cost = count(config)
        if not name[1:].isdigit() or abs(cost.params / spec.budget.params - 1) > max(
            H_TOLERANCE, spec.budget.tolerance
        ):
            continue
        reasons = _outside(spec, config)
        if not low <= cost.params <= high:
            reasons.append(f"has {cost.params:,} parameters, outside the budget")
        if spec.budget.max_macs is not None and cost.macs > spec.budget.max_macs:
            reasons.append(f"has {cost.macs:,} MACs, above the ceiling")
        sentences.append(
            f"{name.upper()} ({cost.params:,} parameters) is a candidate of this study."
            if not reasons
            else f"{name.upper()} {' and '.join(reasons)}, so it is not compared with."
        )
    return sentences


def _outside(spec: StudySpec, config: HaloNetConfig) -> list[str]:
    """Which dials of a published model this study does not search."""
    space, dials = spec.search_space(), dials_from_config(config)
    assert dials is not None
    missing = [dial for dial in DIALS if dials[dial] not in getattr(space, dial)]
    sizes = space.image_size
    reasons = []
    if "image_size" in missing:
        reasons.append(
            f"needs {config.image_size}-pixel images and this study's tier ({spec.tier.name}) searches {min(sizes)} to {max(sizes)}"
        )
    others = [f"{dial} {dials[dial]}" for dial in missing if dial != "image_size"]
    return reasons + ([f"has {', '.join(others)}, which this study's space leaves out"] if others else [])
