"""Charts that show trials one by one: parallel coordinates, slices, learning curves."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from halosearch.report.columns import BY_NAME, DIALS, PARALLEL
from halosearch.report.figures.marks import STATES, by_origin, points
from halosearch.report.figures.style import COMPLETE, FRONT, PRUNED, axis, layout, styled
from halosearch.report.numbers import short_number

CURVE_POINTS = 16


def prepare_slices(table: pd.DataFrame, front: list[int]) -> dict[str, Any]:
    """Scored trials against every dial that varies; a dial of words is numbered in order."""
    dials = [column for column in DIALS if column.name in table and table[column.name].nunique() > 1]
    scored = table[table["score"].notna()]
    return {
        "dials": [(column, words_of(table[column.name])) for column in dials],
        "groups": {
            "pruned": scored[scored["state"] == "pruned"],
            **by_origin(scored[(scored["state"] == "complete") & ~scored["trial"].isin(front)]),
            "front": scored[scored["trial"].isin(front)],
        },
    }


def words_of(column: pd.Series[Any]) -> list[str] | None:
    """The choices of a dial of words in order; None for numbers."""
    return None if pd.api.types.is_numeric_dtype(column) else sorted(column.astype(str).unique())


def draw_slices(data: dict[str, Any], *, trials: bool = True) -> Any:
    """Score against each dial, one panel each."""
    styles = STATES | {"front": ("front", FRONT, "diamond", 10)}
    dials = data["dials"]
    columns = min(3, max(1, len(dials)))
    rows = max(1, math.ceil(len(dials) / columns))
    titles = [column.title for column, _ in dials] or ["no dial varies yet"]
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes=True, subplot_titles=titles, vertical_spacing=0.35 / rows
    )
    for place, (column, choices) in enumerate(dials):
        for state, rows_of_state in data["groups"].items():
            group = rows_of_state if trials else rows_of_state.iloc[:0]
            title, colour, symbol, size = styles[state]
            rows_x = (
                group.assign(**{column.name: group[column.name].astype(str).map(choices.index)}) if choices else group
            )
            meta = {"kind": "points", "state": state, "x": column.name, "choices": choices}
            trace = points(rows_x, column.name, (title, colour, symbol, size - 2), meta)
            trace.update(showlegend=place == 0)
            figure.add_trace(trace, row=place // columns + 1, col=place % columns + 1)
        ticks = {"tickvals": list(range(len(choices))), "ticktext": choices} if choices else {}
        figure.update_xaxes(axis("", **ticks), row=place // columns + 1, col=place % columns + 1)
    figure.update_yaxes(axis(""))
    figure.update_yaxes(title_text="score", col=1)
    figure.update_layout(**layout(230 * rows + 90))
    return figure


def prepare_parallel(table: pd.DataFrame, front: list[int], *, trials: bool = True) -> dict[str, Any]:
    """One axis per dial and cost that varies, score last, each scaled to 0..1; trials with a value on every axis."""
    axes = []
    for name in (each for each in PARALLEL if each in table):
        values = table[name].dropna()
        if values.nunique() < 2:
            continue
        column, choices = BY_NAME[name], words_of(table[name])
        low, high = (0.0, float(len(choices) - 1)) if choices else (float(values.min()), float(values.max()))
        log = column.log and low > 0
        axes.append({"name": name, "title": column.title, "low": low, "high": high, "log": log, "choices": choices})
    return {"axes": axes, "trials": _scaled(table, axes) if trials else [], "front": front}


def _scaled(table: pd.DataFrame, axes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole = table.dropna(subset=[one["name"] for one in axes])
    columns = []
    for one in axes:
        values = whole[one["name"]]
        values = values.astype(str).map(one["choices"].index) if one["choices"] else values
        columns.append([scaled(float(value), one) for value in values])
    return [
        {"trial": number, "state": state, "y": list(places)}
        for number, state, *places in zip(whole["trial"], whole["state"], *columns, strict=True)
    ]


def scaled(value: float, one: dict[str, Any]) -> float:
    """Where a value stands on a parallel axis, 0 at its low end and 1 at its high end."""
    low, high = one["low"], one["high"]
    if one["log"]:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return float((value - low) / (high - low))


def draw_parallel(data: dict[str, Any]) -> Any:
    """A line per trial across all axes; the front above the others."""
    figure, axes = go.Figure(), data["axes"]
    for name, on_front, colour, width in (("complete", False, COMPLETE, 1), ("front", True, FRONT, 2)):
        xs, ys = list[Any](), list[Any]()
        for trial in data["trials"]:
            if (trial["trial"] in data["front"]) == on_front and trial["state"] == "complete":
                xs += [*range(len(axes)), None]
                ys += [*trial["y"], None]
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=ys,
                mode="lines",
                line={"color": colour, "width": width},
                opacity=1 if on_front else 0.45,
                name=name,
                hoverinfo="skip",
                meta={"kind": "parallel", "state": name, "axes": axes},
            )
        )
    for place, one in enumerate(axes):
        figure.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"color": PRUNED, "width": 1})
        for y, value, anchor in ((1, one["high"], "bottom"), (0, one["low"], "top")):
            label = one["choices"][int(value)] if one["choices"] else short_number(value)
            figure.add_annotation(x=place, y=y, text=label, showarrow=False, yanchor=anchor, font={"size": 10})
    ticks: dict[str, Any] = {
        "tickvals": list(range(len(axes))),
        "ticktext": [_short_title(one["name"]) for one in axes],
    }
    plain: dict[str, Any] = {"showgrid": False, "zeroline": False}
    return styled(
        figure,
        axis("", range=[-0.4, max(len(axes) - 0.6, 0.5)], fixedrange=True, tickangle=-35, **ticks, **plain),
        axis("", range=[-0.1, 1.1], fixedrange=True, showticklabels=False, **plain),
        height=420,
    )


def _short_title(name: str) -> str:
    return {"step_time_s": "step (s)", "memory_bytes": "memory (B)", "params": "params", "macs": "MACs"}.get(
        name, name.replace("_", " ")
    )


def prepare_curves(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """(images seen, training loss) per trial, thinned; a pruned trial's curve ends where it was stopped."""
    front = set(summary["front"])
    return [
        {
            "trial": trial["trial"],
            "kind": "front" if trial["trial"] in front else trial["state"],
            "points": thinned(trial["curve"]),
        }
        for trial in summary["trials"]
        if trial["curve"]
    ]


def thinned(curve: list[list[float]], most: int = CURVE_POINTS) -> list[list[float]]:
    """At most so many points, first and last among them, losses to four digits."""
    step = max(1, math.ceil((len(curve) - 1) / (most - 1))) if len(curve) > 1 else 1
    kept = curve[::step]
    if kept and kept[-1] != curve[-1]:
        kept = [*kept, curve[-1]]
    return [[images, float(f"{loss:.4g}")] for images, loss in kept]


def draw_curves(data: list[dict[str, Any]], *, trials: bool = True) -> Any:
    """Training loss over images seen; front members in the front's colour, stopped trials in grey."""
    figure = go.Figure()
    kinds = {"pruned": (PRUNED, 1), "failed": (PRUNED, 1), "complete": (COMPLETE, 1), "front": (FRONT, 2)}
    for kind, (colour, width) in kinds.items():
        xs, ys = list[Any](), list[Any]()
        mine = [curve for curve in data if curve["kind"] == kind]
        for curve in mine if trials else ():
            xs += [*(point[0] for point in curve["points"]), None]
            ys += [*(point[1] for point in curve["points"]), None]
        if mine:
            figure.add_trace(
                go.Scatter(
                    x=xs,
                    y=ys,
                    mode="lines",
                    name={"pruned": "stopped early"}.get(kind, kind),
                    line={"color": colour, "width": width, "dash": "dot" if kind == "pruned" else "solid"},
                    opacity=1 if kind == "front" else 0.5,
                    hoverinfo="skip",
                    meta={"kind": "curves", "state": kind},
                )
            )
    seen = [point for curve in data for point in curve["points"]] or [[0, 0], [1, 1]]
    high = max(p[1] for p in seen)
    low = min(p[1] for p in seen)
    return styled(
        figure,
        axis("images seen", range=[0, 1.02 * max(p[0] for p in seen)]),
        axis("training loss", range=[low - 0.05 * (high - low), high + 0.05 * (high - low)]),
    )
