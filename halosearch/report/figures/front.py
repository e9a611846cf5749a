"""The chart that everything is about: score against a cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from halosearch.analysis.frontier import frontier
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.published import FAMILY
from halosearch.families.published import published_models
from halosearch.report.columns import BY_NAME, SCORE
from halosearch.report.figures.marks import ONLY_PREDICTED, STATES, points
from halosearch.report.figures.style import EFFICIENTNET, FRONT, PRUNED, axis, styled, words

MEASURED, PREDICTED = "step_time_s", "predicted_step_time_s"
MARKED = ("H0-H7 (cost only)", "EfficientNet (cost only)")
RIVALS = "EfficientNet AA"
RIVAL_COSTS = ("step_time_s", "params", "macs", "activations", "memory_bytes", "seconds", "images")
"""What is known of a rival."""
REACH = 1.5
"""How far beyond the trials' own costs a published model is still marked, as a factor."""


def prepare_front(summary: dict[str, Any], table: pd.DataFrame, cost: str = "step_time_s") -> dict[str, Any]:
    """Trials by state, the front of score against `cost` (cheapest first), band and reference where they belong to that cost.

    On the axis of measured steps, trials whose step is only predicted stand where it is predicted, drawn as such.
    """
    guessed = only_predicted(table) if cost == MEASURED else table.iloc[:0]
    if len(guessed):
        table = table.assign(**{MEASURED: table[MEASURED].fillna(table[PREDICTED])})
    known = table[table[cost].notna() & table["score"].notna()] if len(table) else table
    if len(known) and BY_NAME[cost].log:
        known = known[known[cost] > 0]  # nothing else has a place on a logarithmic axis
    front = frontier(known, cost)
    on_front = set(front["trial"]) if len(front) else set()
    elsewhere = on_front | set(guessed["trial"] if len(guessed) else ())
    groups = {
        state: known[(known["state"] == state) & ~known["trial"].isin(elsewhere)] if len(known) else known
        for state in STATES
        if state != ONLY_PREDICTED
    }
    if len(guessed):
        groups[ONLY_PREDICTED] = guessed.assign(**{MEASURED: guessed[PREDICTED]})
    certain = summary["attainment"] if cost == MEASURED else None
    reference = summary["reference"]
    return {
        "cost": cost,
        "has_rivals": bool(summary["rivals"]),
        "band": [] if certain is None else certain["band"],
        "groups": groups,
        "front": front,
        "rivals": [r for r in summary["rivals"] if r["score"] is not None and r[cost] is not None]
        if cost in RIVAL_COSTS
        else [],
        "reference": [reference]
        if reference and reference.get("score") is not None and reference.get(cost) is not None
        else [],
        "marks": published_marks(cost, known[cost].tolist() if len(known) else []),
    }


def only_predicted(table: pd.DataFrame) -> pd.DataFrame:
    """Scored trials whose step was predicted and not measured."""
    if not {"score", MEASURED, PREDICTED} <= set(table.columns):
        return table.iloc[:0]
    return table[table["score"].notna() & table[MEASURED].isna() & table[PREDICTED].notna()]


def published_marks(cost: str, values: list[float]) -> dict[str, list[tuple[str, float]]]:
    """Where H0-H7 (counted here) and EfficientNet-B0..B7 (as published) stand on a cost axis, near the trials; their scores are unknown."""
    if cost not in ("params", "macs") or not values:
        return {}
    low, high = min(values) / REACH, max(values) * REACH
    ours = [(name.upper(), float(getattr(count(FAMILY[name]), cost))) for name in FAMILY if name[1:].isdigit()]
    printed = [
        (m.model, m.params_m if cost == "params" else m.macs_g) for m in published_models() if m.family == RIVALS
    ]
    scale = 1e6 if cost == "params" else 1e9
    rivals = [(name, scale * value) for name, value in printed if value is not None]
    return {
        MARKED[0]: [mark for mark in ours if low <= mark[1] <= high],
        MARKED[1]: [mark for mark in rivals if low <= mark[1] <= high],
    }


def draw_front(data: dict[str, Any], *, trials: bool = True) -> Any:
    """Score against a cost; bars are 95 % intervals of the measured step; a dotted pair of lines is the attainment band."""
    figure, cost = go.Figure(), BY_NAME[data["cost"]]
    for name, place in (("5 %", 1), ("95 %", 3)):
        figure.add_trace(
            go.Scatter(
                x=[point[0] for point in data["band"]],
                y=[point[place] for point in data["band"]],
                mode="lines",
                line={"color": FRONT, "width": 1, "dash": "dot", "shape": "hv"},
                name=f"best true score, {name} bound",
                hoverinfo="skip",
            )
        )
    for state, group in data["groups"].items():
        rows = group if trials else group.iloc[:0]
        figure.add_trace(points(rows, cost.name, STATES[state], {"kind": "points", "state": state}))
    front = points(data["front"], cost.name, ("front", FRONT, "diamond", 11))
    front.update(mode="lines+markers", line={"color": FRONT, "width": 1.5, "shape": "hv"})
    if cost.name == MEASURED:
        front.update(error_x=_bars(data["front"]))
    figure.add_trace(front)
    figure.add_trace(
        go.Scatter(
            x=[r[cost.name] for r in data["reference"]],
            y=[r["score"] for r in data["reference"]],
            mode="markers",
            name="reference model (not searched)",
            marker={"color": PRUNED, "symbol": "star", "size": 13},
            text=[words([str(r["candidate"])]) for r in data["reference"]],
            hovertemplate="%{text}<br>score %{y:.3f}<extra>reference</extra>",
        )
    )
    if data["has_rivals"]:
        figure.add_trace(_rivals(data["rivals"], cost.name))
    for name, colour in zip(MARKED, (FRONT, EFFICIENTNET), strict=True):
        marks = data["marks"].get(name, [])
        figure.add_trace(
            go.Scatter(
                x=[value for _, value in marks],
                y=[0.04] * len(marks),
                yaxis="y2",
                mode="markers+text",
                name=name,
                text=[label for label, _ in marks],
                textposition="top center",
                marker={"color": colour, "symbol": "line-ns-open", "size": 14, "line": {"color": colour, "width": 2}},
                hovertemplate="%{text}: %{x:,}<extra></extra>",
            )
        )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
    return styled(figure, axis(cost.title, log=cost.log), axis(SCORE.title))


def _rivals(rivals: list[dict[str, Any]], cost: str) -> Any:
    """Measured points with the 95 % intervals of one score and of the step."""
    trace = go.Scatter(
        x=[r[cost] for r in rivals],
        y=[r["score"] for r in rivals],
        mode="markers",
        name="rivals (other families)",
        marker={"color": EFFICIENTNET, "symbol": "star", "size": 13},
        text=[words([r["candidate"]]) for r in rivals],
        hovertemplate="%{text}<br>score %{y:.3f}<extra>rival</extra>",
    )
    halves = [r["score_half"] for r in rivals]
    if rivals and None not in halves:
        trace.update(error_y={"type": "data", "array": halves, "color": EFFICIENTNET, "thickness": 1})
    if cost == MEASURED:
        trace.update(error_x=_bars(pd.DataFrame(rivals), EFFICIENTNET))
    return trace


def _bars(rows: pd.DataFrame, colour: str = FRONT) -> dict[str, Any]:
    empty = rows.empty
    return {
        "type": "data",
        "symmetric": False,
        "array": [] if empty else (rows["step_time_high_s"] - rows[MEASURED]).fillna(0.0).tolist(),
        "arrayminus": [] if empty else (rows[MEASURED] - rows["step_time_low_s"]).fillna(0.0).tolist(),
        "color": colour,
        "thickness": 1,
    }
