"""Figures as two functions each: prepare (numbers) and draw (marks). Lists, not arrays: the same numbers give the same bytes."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from halosearch.cost.counts import count
from halosearch.space.family import EFFICIENTNETS, FAMILY, PUBLISHED

FRONT, COMPLETE, EFFICIENTNET, PRUNED = "#D55E00", "#0072B2", "#009E73", "#767676"
AXES = {
    "step_time_s": "training step of the full candidate (s)",
    "macs": "MACs",
    "params": "parameters",
    "activations": "activations (elements)",
    "memory_bytes": "memory of a step (bytes)",
    "seconds": "seconds spent on the trial",
}
Figure = Any


def prepare_front(summary: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Complete trials, those on the front (fastest first), and the reference model where it has a score."""
    complete = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    by_number = {trial["trial"]: trial for trial in complete}
    front = [by_number[number] for number in summary["front"]]
    reference = summary["reference"]
    found = summary["attainment"]
    return {
        "band": []
        if found is None
        else [dict(zip(("cost", "low", "middle", "high"), b, strict=True)) for b in found["band"]],
        "dominated": [trial for trial in complete if trial["trial"] not in summary["front"]],
        "front": front,
        "reference": [reference] if reference and reference["score"] is not None else [],
    }


def draw_front(data: dict[str, list[dict[str, Any]]]) -> Figure:
    """Score against a cost, which the menu switches; error bars are 95 % intervals of the step time."""
    figure = go.Figure()
    for name, quantile in (("attained with 95 %", "low"), ("attained with 5 %", "high")):
        figure.add_trace(
            go.Scatter(
                x=[b["cost"] for b in data["band"]],
                y=[b[quantile] for b in data["band"]],
                mode="lines",
                line={"color": FRONT, "width": 1, "dash": "dot", "shape": "hv"},
                name=f"best true score, {name}",
                hoverinfo="skip",
            )
        )
    for name, colour, symbol, size in (("dominated", COMPLETE, "circle-open", 8), ("front", FRONT, "diamond", 11)):
        trials = data[name]
        figure.add_trace(
            go.Scatter(
                x=[t["step_time_s"] for t in trials],
                y=[t["score"] for t in trials],
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": size},
                error_x=_bars(trials, colour),
                text=[_label(t) for t in trials],
                hovertemplate="%{text}<br>score %{y:.3f}<br>cost %{x:.4g}<extra></extra>",
            )
        )
    reference = data["reference"]
    figure.add_trace(
        go.Scatter(
            x=[r["step_time_s"] for r in reference],
            y=[r["score"] for r in reference],
            mode="markers",
            name="reference model (not searched)",
            marker={"color": PRUNED, "symbol": "star", "size": 13},
            text=[r["candidate"] for r in reference],
            hovertemplate="%{text}<br>score %{y:.3f}<extra></extra>",
        )
    )
    buttons = [
        {"label": title, "method": "update", "args": [_moved(data, axis), {"xaxis.title.text": title}]}
        for axis, title in AXES.items()
    ]
    figure.update_layout(updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.18, "yanchor": "top"}])
    return _styled(figure, AXES["step_time_s"], "score (share of label entropy explained)", log_x=True)


def _bars(trials: list[dict[str, Any]], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [t["step_time_high_s"] - t["step_time_s"] for t in trials],
        "arrayminus": [t["step_time_s"] - t["step_time_low_s"] for t in trials],
        "color": colour,
        "thickness": 1,
        "visible": True,
    }


def _moved(data: dict[str, list[dict[str, Any]]], axis: str) -> dict[str, Any]:
    on_time = axis == "step_time_s"
    costs = [b["cost"] for b in data["band"]]
    return {
        "x": [costs, costs] + [[t.get(axis) for t in data[name]] for name in ("dominated", "front", "reference")],
        "visible": [on_time] * 2 + [True] * 3,
        "error_x.visible": [False, False, on_time, on_time, False],
    }


def _label(trial: dict[str, Any]) -> str:
    return f"trial {trial['trial']}<br>{trial['candidate']}<br>{trial['params']:,} parameters, {trial['macs'] / 1e9:.2f} GMACs"


def draw_curves(summary: dict[str, Any]) -> Figure:
    """Training loss of every trial's twin over images seen; front members in the front's colour."""
    figure = go.Figure()
    for trial in summary["trials"]:
        if trial["curve"]:
            on_front = trial["trial"] in summary["front"]
            figure.add_trace(
                go.Scatter(
                    x=[point[0] for point in trial["curve"]],
                    y=[point[1] for point in trial["curve"]],
                    mode="lines",
                    showlegend=False,
                    name=f"trial {trial['trial']}",
                    line={"color": FRONT if on_front else COMPLETE, "width": 2 if on_front else 1},
                    opacity=1 if on_front else 0.45,
                )
            )
    return _styled(figure, "images seen", "training loss (nats, summed over factors)")


def draw_hypervolume(summary: dict[str, Any]) -> Figure:
    """Hypervolume of all complete trials up to each."""
    history = summary["hypervolume"]
    figure = go.Figure(
        go.Scatter(
            x=[n for n, _ in history],
            y=[v for _, v in history],
            mode="lines+markers",
            line={"color": COMPLETE, "shape": "hv"},
            name="hypervolume",
        )
    )
    return _styled(figure, "trial", "hypervolume (score x ln step time)")


def prepare_published() -> dict[str, list[dict[str, Any]]]:
    """Published ImageNet top-1 and parameters of H0-H7 and EfficientNet-B0..B7, with sources; nothing of it was measured here."""
    halo = [
        {
            "name": name.upper(),
            "params": count(FAMILY[name]).params,
            "top1": PUBLISHED[name].top1_percent,
            "source": PUBLISHED[name].top1_source,
        }
        for name in FAMILY
        if name[1:].isdigit()
    ]
    rivals = [
        {"name": name.upper(), "params": round(b.params_m * 1e6), "top1": b.top1_percent, "source": b.source}
        for name, b in EFFICIENTNETS.items()
    ]
    return {"HaloNet H0-H7": halo, "EfficientNet B0-B7": rivals}


def draw_published(data: dict[str, list[dict[str, Any]]], budget: dict[str, Any]) -> Figure:
    """Published accuracy against parameters, the study's budget as a band."""
    figure = go.Figure()
    for (name, models), colour, symbol in zip(data.items(), (FRONT, EFFICIENTNET), ("diamond", "square"), strict=True):
        figure.add_trace(
            go.Scatter(
                x=[m["params"] for m in models],
                y=[m["top1"] for m in models],
                mode="lines+markers+text",
                name=name,
                text=[m["name"] for m in models],
                textposition="top center",
                marker={"color": colour, "symbol": symbol, "size": 9},
                line={"color": colour, "dash": "dot"},
                customdata=[m["source"] for m in models],
                hovertemplate="%{text}: %{y} %<br>%{x:,} parameters<br>%{customdata}<extra></extra>",
            )
        )
    low, high = (budget["params"] * (1 + sign * budget["tolerance"]) for sign in (-1, 1))
    figure.add_vrect(
        x0=low, x1=high, fillcolor=COMPLETE, opacity=0.25, line_width=0, annotation_text="this study's budget"
    )
    return _styled(figure, "parameters", "ImageNet top-1 (%), as published", log_x=True)


def _styled(figure: Figure, x: str, y: str, *, log_x: bool = False) -> Figure:
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)"}
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080", "size": 13},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": -0.22},
        height=460,
        xaxis={"title": {"text": x}, "type": "log" if log_x else "linear", **grid},
        yaxis={"title": {"text": y}, **grid},
    )
    return figure
