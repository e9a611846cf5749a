"""The chart that everything is about: score against a cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from halosearch.analysis.frontier import frontier
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.published import FAMILY
from halosearch.families.known import member_title
from halosearch.families.published import published_models
from halosearch.record.evaluation import COMPLETE as COMPLETE_STATE
from halosearch.report.columns import BY_NAME, COSTS, SCORE
from halosearch.report.figures.marks import ONLY_PREDICTED, PREDICTED_SEARCHED, RANDOM, STATES, by_origin, points
from halosearch.report.figures.style import EFFICIENTNET, FRONT, PRUNED, axis, cost_axis, styled, words
from halosearch.report.headline import ties

MEASURED, PREDICTED = "step_time_s", "predicted_step_time_s"
MARKED = ("H0-H7 (cost only)", "EfficientNet (cost only)")
BAND = "best without noise, 90 %"
FINALISTS, REFERENCE = "finalists, held-out", "published one's nearest"
RIVALS = "EfficientNet AA"
FRONT_HEIGHT = 400
REACH = 1.5
"""How far beyond the trials' own costs a published model is still marked, as a factor."""


def main_cost(table: pd.DataFrame) -> str:
    """The cost that the front begins with: the measured step, or the first that is known where no step was measured."""
    known = (column.name for column in COSTS if column.name in table and table[column.name].notna().any())
    return next(known, MEASURED)


def prepare_front(summary: dict[str, Any], table: pd.DataFrame, cost: str | None = None) -> dict[str, Any]:
    """Trials by state, the front of score against `cost` (cheapest first; default `main_cost`), band and reference where they belong to it.

    On the axis of measured steps, trials whose step is only predicted stand where it is predicted, drawn as such.
    """
    cost = main_cost(table) if cost is None else cost
    guessed = only_predicted(table) if cost == MEASURED else table.iloc[:0]
    if len(guessed):
        table = table.assign(**{MEASURED: table[MEASURED].fillna(table[PREDICTED])})
    known = table[table[cost].notna() & table["score"].notna()] if len(table) else table
    if len(known) and BY_NAME[cost].log:
        known = known[known[cost] > 0]  # nothing else has a place on a logarithmic axis
    front = frontier(known, cost)
    on_front = set(front["trial"]) if len(front) else set()
    elsewhere = on_front | set(guessed["trial"] if len(guessed) else ())
    others = known[~known["trial"].isin(elsewhere)] if len(known) else known
    groups = {"pruned": others[others["state"] == "pruned"] if len(others) else others}
    groups |= by_origin(others[others["state"] == "complete"] if len(others) else others)
    if len(guessed):
        origin = by_origin(guessed.assign(**{MEASURED: guessed[PREDICTED]}))
        groups |= {ONLY_PREDICTED: origin[RANDOM], PREDICTED_SEARCHED: origin[COMPLETE_STATE]}
    certain = summary["attainment"] if cost == MEASURED else None
    reference = summary["reference"]
    return {
        "cost": cost,
        "has_rivals": bool(summary["rivals"]),
        "band": [] if certain is None else certain["band"],
        "groups": groups,
        "front": front,
        "half_noise": half_noise(summary),
        "finals": _finals(summary, known, cost),
        "rivals": [
            r for r in summary["rivals"] if r["score"] is not None
        ],  # with or without this cost: the page moves them
        "reference": [reference]
        if reference and reference.get("score") is not None and reference.get(cost) is not None
        else [],
        "marks": published_marks(cost, known[cost].tolist() if len(known) else []),
    }


def half_noise(summary: dict[str, Any]) -> float | None:
    """Half the 95 % interval of one score of the search, from the noise between seeds; None where that is not known."""
    noise = summary["validation"]["noise"]
    return None if noise is None else 1.96 * float(noise["sd"])


def _finals(summary: dict[str, Any], known: pd.DataFrame, cost: str) -> list[dict[str, Any]]:
    """Finalists with their held-out scores, at their cost, with the words that stand beside them."""
    at = dict(zip(known["trial"], known[cost], strict=True)) if len(known) else {}
    equal = ties(summary)
    return [
        {
            **final,
            "cost": None if at.get(final["trial"]) is None else float(at[final["trial"]]),
            "label": f"{final['trial']}"
            + (" recommended" if not place else " ties" if final["trial"] in equal else ""),
        }
        for place, final in enumerate(summary["finals"])
    ]


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
    for place in (1, 3):
        figure.add_trace(
            go.Scatter(
                x=[point[0] for point in data["band"]],
                y=[point[place] for point in data["band"]],
                mode="lines",
                line={"color": FRONT, "width": 1, "dash": "dot", "shape": "hv"},
                name=BAND if place == 1 else f"{BAND}, upper end",
                showlegend=bool(data["band"]) and place == 1,
                hoverinfo="skip",
            )
        )
    for state, group in data["groups"].items():
        rows = group if trials else group.iloc[:0]
        trace = points(rows, cost.name, STATES[state], {"kind": "points", "state": state})
        figure.add_trace(trace.update(showlegend=bool(len(group))))
    front = points(data["front"], cost.name, ("front", FRONT, "diamond", 11))
    front.update(mode="lines+markers", line={"color": FRONT, "width": 1.5, "shape": "hv"})
    if data["half_noise"] is not None and len(data["front"]):
        heights = [data["half_noise"]] * len(data["front"])
        front.update(error_y={"type": "data", "array": heights, "color": FRONT, "thickness": 1, "width": 0})
    if cost.name == MEASURED:
        front.update(error_x=_bars(data["front"]))
    figure.add_trace(front)
    figure.add_trace(
        go.Scatter(
            x=[r[cost.name] for r in data["reference"]],
            y=[r["score"] for r in data["reference"]],
            mode="markers+text",
            name=REFERENCE,
            showlegend=bool(data["reference"]),
            marker={"color": PRUNED, "symbol": "star", "size": 11},
            text=[words([f"nearest to {member_title(r['nearest_to'])}"]) for r in data["reference"]],
            textposition="bottom center",
            customdata=[words([str(r["candidate"])]) for r in data["reference"]],
            hovertemplate="%{customdata}<br>score %{y:.3f}<extra>reference</extra>",
        )
    )
    if data["finals"]:
        figure.add_trace(_finalists(data["finals"]))
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
                showlegend=bool(marks),
                text=[label for label, _ in marks],
                textposition="top center",
                marker={"color": colour, "symbol": "line-ns-open", "size": 14, "line": {"color": colour, "width": 2}},
                hovertemplate="%{text}: %{x:,}<extra></extra>",
            )
        )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
    return styled(figure, cost_axis(cost, _costs(data)), axis(SCORE.title), height=FRONT_HEIGHT)


def _costs(data: dict[str, Any]) -> list[float]:
    """All costs that are drawn."""
    name, groups = data["cost"], [*data["groups"].values(), data["front"]]
    found = [float(value) for rows in groups if len(rows) for value in rows[name]]
    return [
        *found,
        *(float(each[name]) for each in (*data["reference"], *data["rivals"]) if each.get(name) is not None),
    ]


def _finalists(finals: list[dict[str, Any]]) -> Any:
    """Held-out scores with their 95 % intervals, named in the chart; the page moves them when its axis changes."""
    trace = go.Scatter(
        x=[f["cost"] for f in finals],
        y=[f["score"] for f in finals],
        mode="markers+text",
        name=FINALISTS,
        marker={"color": FRONT, "symbol": "circle-open", "size": 18, "line": {"width": 2}},
        text=[words([f["label"]]) for f in finals],
        textposition=["top right", *["bottom right"] * (len(finals) - 1)],
        cliponaxis=False,
        customdata=[f["trial"] for f in finals],
        hovertemplate="trial %{customdata}<br>score %{y:.3f} on held-out pictures<extra></extra>",
    )
    if all(f["low"] is not None for f in finals):
        halves = [f["high"] - f["score"] for f in finals]
        trace.update(error_y={"type": "data", "array": halves, "color": FRONT, "thickness": 2})
    return trace


def _rivals(rivals: list[dict[str, Any]], cost: str) -> Any:
    """Held-out scores with their 95 % intervals, or those of one seed where there are no others yet; bars of the step, too."""
    trace = go.Scatter(
        x=[r.get(cost) for r in rivals],
        y=[r["score"] if r["held_out_score"] is None else r["held_out_score"] for r in rivals],
        mode="markers+text",
        name="rival",
        marker={"color": EFFICIENTNET, "symbol": "star", "size": 13},
        text=[words([r["title"]]) for r in rivals],
        textposition="bottom center",
        customdata=[words([r["candidate"]]) for r in rivals],
        hovertemplate="%{customdata}<br>score %{y:.3f}<extra>rival</extra>",
    )
    halves = [
        r["score_half"] if r["held_out_low"] is None else r["held_out_high"] - r["held_out_score"] for r in rivals
    ]
    if rivals and None not in halves:
        trace.update(error_y={"type": "data", "array": halves, "color": EFFICIENTNET, "thickness": 1})
    if cost == MEASURED:
        trace.update(error_x=_bars(pd.DataFrame(rivals), EFFICIENTNET))
    return trace


def _bars(rows: pd.DataFrame, colour: str = FRONT) -> dict[str, Any]:
    if rows.empty:
        return {"type": "data", "symmetric": False, "array": [], "arrayminus": [], "color": colour, "thickness": 1}
    low, middle, high = (rows[name].astype(float) for name in ("step_time_low_s", MEASURED, "step_time_high_s"))
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - middle).fillna(0.0).tolist(),
        "arrayminus": (middle - low).fillna(0.0).tolist(),
        "color": colour,
        "thickness": 1,
    }
