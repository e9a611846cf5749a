"""A ladder: shapes drawn evenly at several budgets, each trained at several lengths, as an experiment without expectations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halosearch.cost.candidate_pool import Limits
from halosearch.cost.pools import pool_within
from halosearch.errors import UsageError
from halosearch.families.known import HALONET, candidate_text, config_of_dials
from halosearch.record.folders import Folders, budget_name, find_study, folders_of
from halosearch.run.begin import ResolveDevice, check_free, is_begun
from halosearch.run.experiments import preset_of, study_of, with_said
from halosearch.spec.experiment import Arm, Experiment
from halosearch.spec.presets import Preset
from halosearch.spec.study import FILE, StudySpec, make_spec, preset_space, read_yaml

LEAST_BUDGETS = 4
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class LadderRequest:
    """A new ladder: budgets in parameters, lengths in images, shapes drawn at each budget, seeds of each shape."""

    name: str
    root: Path
    budgets: tuple[int, ...]
    images: tuple[int, ...]
    shapes: int
    seeds: int
    family: str = HALONET
    values: Mapping[str, Any] | None = None
    """Of the study: preset, data, seed, workers, device, max_time_s; and whether shapes are timed (time_arms)."""


def new_ladder(asked: LadderRequest, resolve_device: ResolveDevice) -> tuple[StudySpec, Folders]:
    """The spec of a ladder that is not there yet.

    Raises:
        UsageError: too few budgets, or a study of that name.
        InfeasibleError: a budget that no candidate has.
    """
    budgets, said = sorted(set(asked.budgets)), {k: v for k, v in (asked.values or {}).items() if v is not None}
    if len(budgets) < LEAST_BUDGETS:
        raise UsageError(
            f"a ladder has {LEAST_BUDGETS} budgets at least, not {len(budgets)}", "--budgets 4M,8M,16M,32M"
        )
    folders = free_folders(asked.root, asked.name)
    device = resolve_device(str(said.get("device", "auto")))
    preset = preset_of_lengths(said, asked.images, device)
    space, seed = preset_space(asked.family, preset, {}), int(said.get("seed", 0))
    arms = [
        arm
        for budget in budgets
        for arm in drawn(pool_within(asked.family, space, Limits(budget, TOLERANCE)), budget, asked.shapes, seed)
    ]
    words = ", ".join(budget_name(budget) for budget in budgets)
    question = f"How does the loss fall with parameters ({words}) and images, and how do the best shapes scale?"
    experiment = Experiment(
        question=question,
        arms=tuple(arms),
        seeds=asked.seeds,
        expect=(),
        ladder=True,
        time_arms=bool(said.pop("time_arms", True)),
        timing_rows=1,
    )
    known = {**said, "name": asked.name, "family": asked.family, "device": device, "budget": {"params": budgets[-1]}}
    return study_of(experiment, preset, space, known), folders


def free_folders(root: Path, name: str) -> Folders:
    """The folders of a new ladder or star.

    Raises:
        UsageError: there is a study of that name.
    """
    folders = folders_of(root, name)
    if is_begun(folders):
        raise UsageError(
            f"there is a study {name!r} already", f"go on with it: halosearch ladder {name}; or another --name"
        )
    check_free(folders)
    return folders


def preset_of_lengths(said: Mapping[str, Any], images: Sequence[int], device: str) -> Preset:
    """The preset that was said, with these lengths of training (its own without any)."""
    return preset_of({"preset": said.get("preset"), "images": sorted(set(images)) or None}, device)


def drawn(pool: pd.DataFrame, budget: int, shapes: int, seed: int, *, check: bool = False) -> list[Arm]:
    """Shapes of a budget, drawn evenly from its pool, none twice."""
    rng = np.random.default_rng([seed, budget])
    rows = pool.iloc[np.sort(rng.choice(len(pool), min(shapes, len(pool)), replace=False))].to_dict("records")
    return [arm_of(row, budget, f"{budget_name(budget)}-{n}", check=check) for n, row in enumerate(rows)]


def arm_of(row: Mapping[Any, Any], budget: int, name: str, *, check: bool) -> Arm:
    """A pool's row as an arm."""
    return Arm(
        name=name,
        network=candidate_text(config_of_dials({str(k): v for k, v in row.items()})),
        budget=budget,
        check=check,
    )


def begun_ladder(
    name: str, root: Path, said: Mapping[str, Any], *, time_arms: bool | None = None
) -> tuple[StudySpec, Folders]:
    """A ladder that was begun, with what may be said anew (workers, seeds, time, whether shapes are timed).

    Raises:
        UsageError: there is none of that name.
    """
    folders = find_study(root, name)
    spec = make_spec(read_yaml(folders.study / FILE))
    if spec.experiment is None or not spec.experiment.ladder:
        raise UsageError(f"{name!r} is no ladder", f"what it is: halosearch status {name}")
    spec = with_said(spec, said)
    if time_arms is not None and spec.experiment is not None and not spec.experiment.star:
        values = spec.model_dump(mode="json")
        values["experiment"] |= {"time_arms": time_arms, "timing_rows": 1}
        spec = make_spec(values)
    return spec, folders


def with_check(spec: StudySpec, budget: int, wish: Mapping[str, float], rivals: int) -> StudySpec:
    """The ladder with a larger budget's arms at its end: the shape nearest to what is forecast, and shapes drawn evenly beside it.

    Raises:
        UsageError: the budget is not larger.
    """
    experiment = spec.experiment
    assert experiment is not None
    largest = max(arm.budget or 0 for arm in experiment.arms)
    if budget <= largest:
        raise UsageError(
            f"a check is of a budget beyond the largest, {largest:,}", f"--check {budget_name(2 * largest)}"
        )
    pool = pool_within(spec.family, spec.search_space(), Limits(budget, TOLERANCE))
    chosen = arm_of(nearest(pool, wish), budget, f"{budget_name(budget)}-forecast", check=True)
    others = [arm for arm in drawn(pool, budget, rivals + 1, spec.seed, check=True) if arm.network != chosen.network][
        :rivals
    ]
    values = spec.model_dump(mode="json")
    arms = [arm.model_dump(mode="json") for arm in (*experiment.arms, chosen, *others)]
    values["experiment"] |= {"arms": arms}
    return make_spec(values)


def nearest(pool: pd.DataFrame, wish: Mapping[str, float]) -> Mapping[Any, Any]:
    """The pool's row nearest to wished numbers, in logarithms (of 1 + value) over the pool's own spread."""
    distance = np.zeros(len(pool))
    for name, value in wish.items():
        column = np.log1p(pool[name].to_numpy(float))
        distance += ((column - np.log1p(value)) / max(float(column.std()), 1e-9)) ** 2
    found: dict[Any, Any] = pool.iloc[int(distance.argmin())].to_dict()
    return found
