"""The candidates of a study: its cell, what the record says was tried, the reference model, the published ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from halosearch.cost.cell import Limits, cell
from halosearch.cost.counts import count
from halosearch.errors import StoreError
from halosearch.records.store import Store, Trial
from halosearch.search.loop import State
from halosearch.search.sampler import Outcome, Pool
from halosearch.space.family import FAMILY
from halosearch.space.search_space import DIALS, dials_from_config
from halosearch.study.spec import StudySpec

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
    state = State()
    for trial in store.trials():
        state.rows.append(row_of(pool, trial))
        if trial.state == "complete":
            state.outcomes[trial.number] = Outcome((float(trial.result["score"]), float(trial.costs[guide])))
        elif trial.state != "running":
            state.outcomes[trial.number] = Outcome(None)
    notes = store.notes()
    state.finished_retests = {int(key.removeprefix("retest-")) for key in notes if key.startswith("retest-")}
    state.reference_done = "reference" in notes
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
    """One sentence for every H model at this budget: whether this study can hold it."""
    space, sentences = spec.search_space(), []
    for name, config in FAMILY.items():
        params = count(config).params
        if not name[1:].isdigit() or abs(params / spec.budget.params - 1) > max(H_TOLERANCE, spec.budget.tolerance):
            continue
        dials = dials_from_config(config)
        inside = dials is not None and all(dials[dial] in getattr(space, dial) for dial in DIALS)
        sentences.append(
            f"{name.upper()} ({params:,} parameters) is inside this study's space."
            if inside
            else f"{name.upper()} needs {config.image_size}-pixel images; this study's tier ({spec.tier.name}) searches "
            f"{min(space.image_size)} to {max(space.image_size)} pixels, so it is not compared with."
        )
    return sentences
