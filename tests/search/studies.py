"""Studies played in memory: a planner, a table that is a list, and a world in which rows end in any order, die and fail."""

import random
from dataclasses import replace

import pandas as pd

from halosearch.record.evaluation import ANCHOR, COMPLETE, FAILED, PRUNED, RUNNING, STEP_TIME, TRIAL
from halosearch.search.planner import DECIDED, FINISHED, REFUSED, SearchDesign, SearchPlanner
from halosearch.search.pool import Pool
from halosearch.search.pool_sampler import Guidance
from halosearch.search.repeats import Repeats
from halosearch.search.sampler import Guide
from halosearch.search.schedule import Shape

ROWS = pd.DataFrame(
    {
        "x": range(1, 51),
        "y": [(7 * i) % 11 for i in range(50)],
        "stage3_depth": [1 + i % 7 for i in range(50)],
        "expansion_ratio": [1.0 + i % 5 for i in range(50)],
    }
)
ROWS = ROWS.assign(params=10 * ROWS["x"], macs=ROWS["x"] ** 2, activations=ROWS["y"] + 1)
FEATURES = ["x", "y", "stage3_depth", "expansion_ratio"]
UNIFORM = 6
KINDS = [("tpe", 0, 0), ("pool", 0, 0), ("pool", 2, 1), ("pool", 3, 2), ("nsga2", 0, 0), ("random", 0, 0)]


def design_of(sampler="pool", eta=0, top=0, trials=18, force=True, lag=3, time_front=False, rivals=(), **repeats):
    guide = Guide("macs", Guidance(tuple(float(4**r) for r in range(top + 1)), reference=0.0))
    uniform = trials if sampler == "random" else UNIFORM
    asked = Repeats(**({"retests": 4, "anchor_seeds": 3, "rates": 1, "finalists": 2, "final_seeds": 2} | repeats))
    return SearchDesign(
        Shape(trials, uniform, top, eta, lag),
        sampler,
        guide,
        3,
        ROWS.iloc[49][FEATURES].to_dict(),
        time_front=time_front,
        repeats=asked,
        rivals=rivals,
        force=force,
    )


def planner(design):
    return SearchPlanner(design, Pool(ROWS, FEATURES))


def score(row, rung):
    return float((row.candidate.get("x", 3) * 7) % 13) / (5 - rung) + 0.01 * ((row.seed + row.repeat) % 7)


def step_time(row):
    """Not quite what MACs say."""
    x = row.candidate.get("x", 3)  # a rival has no dials
    return (1.0 + x % 5) * x


def ended(row, top, fails=(), *, timed=True):
    """The row as it ends; `fails` are (kind, trial, rung) that end in a failure; `timed`: whether trials are timed as they train."""
    if (row.kind, row.trial, row.rung) in fails:
        return replace(row, state=FAILED, reason="loss is nan", runs=1)
    if row.kind == ANCHOR:
        return replace(row, state=COMPLETE, result={"seconds": {"median": 1.0}}, runs=1)
    if row.kind == STEP_TIME:
        return replace(row, state=COMPLETE, result={"step_time_s": step_time(row), "seconds": 1.0}, runs=1)
    rung = top if row.rung < 0 else row.rung
    scores = [{"score": score(row, r)} for r in range(rung + 1)]
    result = {
        "scores": scores,
        "score": scores[-1]["score"],
        "step_time_s": step_time(row),
        "seconds": 2.0,
    }
    if not timed:
        del result["step_time_s"]
    return replace(row, state=PRUNED if row.kind == TRIAL and rung < top else COMPLETE, result=result, runs=1)


def play(design, *, workers=1, seed=0, kills=0.0, fails=(), rows=None, most=1000):
    """Until the planner has nothing more to say; a kill is a new planner on the same rows. Returns rows and last status."""
    rng, top = random.Random(seed), design.shape.top
    rows, mind = [] if rows is None else rows, planner(design)
    for _ in range(most):
        running = [row for row in rows if row.state == RUNNING]
        if rng.random() < kills:
            mind = planner(design)
        plan = mind.plan(rows) if len(running) < workers else None
        if plan is not None and plan.status == DECIDED and (not running or rng.random() < 0.8):
            rows.append(plan.row)
        elif running:
            row = rng.choice(running)
            rows[row.id] = ended(row, top, fails, timed=not design.time_front)
        else:
            assert plan.status in (FINISHED, REFUSED)
            return rows, plan
    raise AssertionError("it does not end")
