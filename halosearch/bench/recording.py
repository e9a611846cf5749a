"""A recorded table out of a study whose candidates were all drawn evenly and all trained twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from halosearch.bench.table import Table, check_rows
from halosearch.cost.candidate_pool import Limits
from halosearch.errors import UsageError
from halosearch.families.halonet.space import DIALS, WHOLE_MAP, HaloNetSpace
from halosearch.record.evaluation import COMPLETE, RETEST, Evaluation
from halosearch.record.trials import Trial, anchor_of, repeats, trials_of
from halosearch.report.reading import Opened


def table_of(opened: Opened) -> Table:
    """The study's candidates that were scored with two seeds at every rung.

    Raises:
        UsageError: the study's candidates were not drawn evenly, or too few were trained twice.
    """
    spec, table = opened.spec, opened.rows
    trials = trials_of(table)
    if spec.sampler != "random":
        raise UsageError(
            f"the candidates of study {spec.name!r} were chosen by {spec.sampler!r}, not drawn evenly",
            "record a table with: halosearch study --sampler random --max-trials 100 --retests 100 …",
        )
    space = spec.search_space()
    if not isinstance(space, HaloNetSpace):
        raise UsageError(
            f"study {spec.name!r} searches {spec.family}", "recorded tables hold HaloNets: record one of them"
        )
    rungs = spec.preset.rungs
    whole = [t for t in trials if _is_whole(t, table, len(rungs))]
    check_rows(len(whole))
    rows = pd.DataFrame(
        [
            {**t.dials, **t.costs, "step_time_s": t.result.get("step_time_s"), **t.result.get("zero_cost", {})}
            for t in whole
        ]
    )
    scores = np.array(
        [[_by_rung(t.result), _by_rung(repeats(table, RETEST, t.number)[0].result)] for t in whole], dtype=float
    )
    low, high = Limits(spec.budget.params, spec.budget.tolerance).params_range()
    facts = {
        "study": spec.name,
        "halosearch": spec.halosearch,
        "budget": spec.budget.model_dump(),
        "preset": spec.preset.model_dump(mode="json"),
        "data": spec.data if "/" not in spec.data else spec.data.rsplit("/", 1)[-1],
        "seed": spec.seed,
        "device": (anchor_of(table) or {}).get("device", {}),
        "pool_size": opened.pool_size,
        "trials": len(trials),
        "left_out": len(trials) - len(whole),
    }
    return Table(
        spec.name,
        rows,
        DIALS,
        rungs,
        scores,
        np.array([_seconds(t, rungs) for t in whole]),
        (low, high),
        _ordered_space(space),
        facts,
    )


def _ordered_space(space: HaloNetSpace) -> dict[str, list[Any]]:
    """The dials' values, numbers in order: "the whole map" is the largest map's side, which smaller maps are clipped to."""
    values = space.to_dict()
    side = -(-max(space.image_size) // 4)
    values["block_size"] = sorted({side if block == WHOLE_MAP else int(block) for block in space.block_size})
    return values


def _is_whole(trial: Trial, rows: Sequence[Evaluation], rungs: int) -> bool:
    again = repeats(rows, RETEST, trial.number)
    if trial.state != COMPLETE or not again or again[0].repeat != 1:
        return False
    return len(trial.result["scores"]) == len(again[0].result["scores"]) == rungs


def _by_rung(result: dict[str, Any]) -> list[float]:
    return [float(rung["score"]) for rung in result["scores"]]


def _seconds(trial: Trial, rungs: tuple[int, ...]) -> list[float]:
    """Seconds of the trial by rung, as recorded: training by images shown, everything else in the first rung."""
    images = np.diff([0, *rungs]) / rungs[-1]
    training = float(trial.result["train_seconds"])
    return [float(trial.result["seconds"]) - training + training * images[0], *(training * images[1:])]
