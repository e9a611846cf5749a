"""Charts of a study as a whole: hypervolume, importance, the distribution of scores, published models."""

from __future__ import annotations

import math
import re
from typing import Any

import plotly.graph_objects as go

from halosearch.families.published import published_models
from halosearch.report.figures.style import COMPLETE, EFFICIENTNET, FRONT, PRUNED, axis, log_axis, reach, styled, words

TRAINED_ON = ("IN1k", "IN1k 100ep", "IN1k 150ep")
"""Rows of the published table that are shown: ImageNet-1k alone."""
STYLES = {
    "HaloNet": (FRONT, "diamond", "solid"),
    "EfficientNet AA": (EFFICIENTNET, "square", "dot"),
}
MARKED = 300
"""Points of a line up to which each is marked."""
OTHERS = (
    "circle-open",
    "cross-open",
    "x-open",
    "triangle-up-open",
    "triangle-down-open",
    "star-open",
    "hexagon-open",
    "pentagon-open",
    "square-open",
    "diamond-open",
    "bowtie-open",
    "hourglass-open",
)


def prepare_hypervolume(summary: dict[str, Any], by: str) -> dict[str, Any]:
    """Hypervolume of all complete trials up to each, where it changes, over trial numbers or over the seconds of all trials together."""
    place = {"trial": 0, "seconds": 1}[by]
    history = summary["hypervolume"]
    history = [p for n, p in enumerate(history) if n in (0, len(history) - 1) or p[2] != history[n - 1][2]]
    titles = {"trial": "trial", "seconds": "seconds of all trials together (all workers)"}
    return {
        "x": [point[place] for point in history],
        "y": [point[2] for point in history],
        "title": titles[by],
        "even": summary["spec"]["preset"]["uniform"]
        if by == "trial" and summary["spec"]["sampler"] != "random"
        else None,
    }


def draw_hypervolume(data: dict[str, Any]) -> Any:
    """A staircase; the line shows where even draws end and the search begins."""
    figure = go.Figure(
        go.Scatter(
            x=data["x"],
            y=data["y"],
            mode="lines" if len(data["x"]) > 1 else "markers",
            line={"color": COMPLETE, "shape": "hv"},
            name="hypervolume",
            hovertemplate="%{x:.6g}: %{y:.4f}<extra></extra>",
        )
    )
    if data["even"] and data["x"] and data["x"][-1] >= data["even"]:
        figure.add_vline(x=data["even"] - 0.5, line={"color": PRUNED, "dash": "dash", "width": 1})
        figure.add_annotation(
            x=data["even"] - 0.5,
            y=0,
            yref="paper",
            yanchor="bottom",
            xanchor="left",
            text="search begins",
            showarrow=False,
        )
    return styled(
        figure, axis(data["title"]), axis("hypervolume (score × ln step time)", rangemode="tozero"), height=340
    )


def draw_importance(found: dict[str, Any]) -> Any:
    """Bars per dial beside what chance gives the same dial."""
    dials = found["dials"][::-1]
    names = [entry["dial"].replace("_", " ") for entry in dials]
    figure = go.Figure()
    figure.add_trace(
        go.Bar(
            x=[entry["share"] for entry in dials],
            y=names,
            orientation="h",
            name="share of importance",
            marker={"color": COMPLETE},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[entry["chance"] for entry in dials],
            y=names,
            mode="markers",
            name=f"largest of {found['shuffles']} shuffles of the scores",
            marker={"color": FRONT, "symbol": "line-ns-open", "size": 16, "line": {"width": 2, "color": FRONT}},
            hovertemplate="%{y}: chance gives %{x:.2f}<extra></extra>",
        )
    )
    return styled(
        figure, axis("share of importance", rangemode="tozero"), axis("", type="category"), height=90 + 34 * len(dials)
    )


def draw_distribution(found: dict[str, Any]) -> Any:
    """Share of even draws that score at least so much, with its 95 % band."""
    scores = [point[0] for point in found["points"]]
    shares = [point[1] for point in found["points"]]
    half = found["half_width"]
    figure = go.Figure()
    for name, bound in (
        ("95 % band", [min(1.0, s + half) for s in shares]),
        ("", [max(0.0, s - half) for s in shares]),
    ):
        figure.add_trace(
            go.Scatter(
                x=scores,
                y=bound,
                mode="lines",
                line={"color": PRUNED, "dash": "dot", "width": 1, "shape": "vh"},
                name=name,
                showlegend=bool(name),
                hoverinfo="skip",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=scores,
            y=shares,
            mode="lines+markers" if len(scores) <= MARKED else "lines",
            line={"color": COMPLETE, "shape": "vh"},
            marker={"size": 5},
            name=f"even draws (n = {found['drawn']})",
            hovertemplate="%{y:.0%} score at least %{x:.3f}<extra></extra>",
        )
    )
    return styled(figure, axis("score"), axis("share at least as good", range=[0, 1]), height=380)


def prepare_published(budget: dict[str, Any]) -> dict[str, Any]:
    """Published top-1 against published parameters by family (ImageNet-1k only), and the study's budget."""
    families: dict[str, list[dict[str, Any]]] = {}
    for model in published_models():
        if model.params_m is not None and model.data in TRAINED_ON:
            scaled = model.family != "HaloNet" or re.fullmatch(
                r"H\d", model.model
            )  # HaloNet-50 is not on the line of H0-H7
            families.setdefault(model.family if scaled else "HaloNet-50", []).append(
                {
                    "name": model.model,
                    "params": model.params_m * 1e6,
                    "macs": None if model.macs_g is None else model.macs_g * 1e9,
                    "top1": model.top1_percent,
                    "source": model.source,
                    "confidence": model.confidence,
                    "data": model.data,
                    "image_size": model.image_size,
                }
            )
    return {"families": families, "budget": budget}


def draw_published(data: dict[str, Any]) -> Any:
    """Published accuracy against parameters, the study's budget as a band; families beyond HaloNet and EfficientNet begin hidden."""
    figure, others = go.Figure(), iter(OTHERS * 3)
    for family, models in data["families"].items():
        colour, symbol, dash = STYLES.get(family, (PRUNED, None, "dot"))
        known = family in STYLES
        models = sorted(models, key=lambda model: (model["params"], model["top1"]))
        figure.add_trace(
            go.Scatter(
                x=[m["params"] for m in models],
                y=[m["top1"] for m in models],
                mode="lines+markers+text" if known else "markers",
                name=family,
                visible=True if known else "legendonly",
                text=[m["name"] for m in models],
                textposition="top center" if family == "HaloNet" else "bottom center",
                marker={"color": colour, "symbol": symbol or next(others), "size": 9},
                line={"color": colour, "dash": dash, "width": 1},
                customdata=[words([f"{m['data']}; {m['source']}", str(m["confidence"])]) for m in models],
                hovertemplate="%{text}: %{y} %<br>%{x:,} parameters<br>%{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    budget = data["budget"]
    low, high = (budget["params"] * (1 + sign * budget["tolerance"]) for sign in (-1, 1))
    figure.add_vrect(x0=low, x1=high, fillcolor=COMPLETE, opacity=0.25, line_width=0)
    figure.add_annotation(  # on a logarithmic axis Plotly wants the logarithm here, and only here
        x=math.log10(budget["params"]), y=0, yref="paper", yanchor="bottom", text="this budget", showarrow=False
    )
    return styled(
        figure,
        log_axis("parameters", *reach(m["params"] for models in data["families"].values() for m in models)),
        axis("ImageNet top-1 (%), as published"),
        height=520,
    )
