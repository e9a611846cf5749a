"""Charts of a scaling law: losses with the law's curves, and the joint region of E and alpha."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from halosearch.report.figures.style import COMPLETE, EFFICIENTNET, FRONT, PRUNED, axis, log_axis, reach, styled
from halosearch.report.numbers import short_number

COLOURS = (COMPLETE, FRONT, EFFICIENTNET, "#CC79A7", "#8A6D00", PRUNED)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


def draw_losses(found: dict[str, Any]) -> Any:
    """Loss over parameters, both logarithmic; a curve and its points for every length, the forecast with its interval."""
    figure, curves = go.Figure(), found["curves"]
    lengths = [curve["images"] for curve in curves]
    for place, curve in enumerate(curves):
        colour, name = COLOURS[place % len(COLOURS)], f"{short_number(curve['images'])} images"
        figure.add_trace(
            go.Scatter(
                x=curve["params"], y=curve["loss"], mode="lines", name=f"law, {name}", line={"color": colour, "width": 1.5},
                hovertemplate="%{x:.4g}: %{y:.4f}<extra></extra>",
            )
        )  # fmt: skip
        own = [row for row in found["points"] if _nearest(row[1], lengths) == curve["images"]]
        figure.add_trace(
            go.Scatter(
                x=[row[0] for row in own], y=[row[2] for row in own], mode="markers", name=name,
                marker={"color": colour, "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
                hovertemplate="%{x:.4g} parameters<br>loss %{y:.4f}<extra></extra>",
            )
        )  # fmt: skip
    for place, name in ((1, f"95 % of the law, {short_number(lengths[-1])} images"), (2, "upper end")):
        figure.add_trace(
            go.Scatter(
                x=[row[0] for row in found["band"]], y=[row[place] for row in found["band"]], mode="lines", name=name,
                line={"color": PRUNED, "width": 1, "dash": "dot"}, showlegend=place == 1, hoverinfo="skip",
            )
        )  # fmt: skip
    ahead = found["forecast"]
    figure.add_trace(
        go.Scatter(
            x=[ahead["params"]], y=[ahead["loss"]], mode="markers", name=f"forecast, {short_number(ahead['images'])} images",
            marker={"color": FRONT, "symbol": "star", "size": 13},
            error_y=None if ahead["low"] is None else {
                "type": "data", "symmetric": False, "array": [ahead["high"] - ahead["loss"]],
                "arrayminus": [ahead["loss"] - ahead["low"]], "color": FRONT,
            },
            hovertemplate="%{x:.4g} parameters<br>loss %{y:.4f}<extra>forecast</extra>",
        )
    )  # fmt: skip
    return styled(
        figure,
        log_axis("parameters", min(row[0] for row in found["points"]), ahead["params"]),
        log_axis(
            "loss",
            *reach([*(row[2] for row in found["points"]), *(ahead[end] or ahead["loss"] for end in ("low", "high"))]),
        ),
    )


def _nearest(images: float, lengths: list[float]) -> float:
    return min(lengths, key=lambda length: abs(length / images - 1))


def region_edge(region: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(E, least alpha, largest alpha) of the 95 % region, for every E that it holds."""
    found = []
    for level, row in zip(region["E"], region["share"], strict=True):
        inside = [alpha for alpha, share in zip(region["alpha"], row, strict=True) if share <= 1]
        if inside:
            found.append((level, min(inside), max(inside)))
    return found


def draw_region(found: dict[str, Any]) -> Any:
    """The 95 % region of E and alpha as the ends of alpha for every E, and the best pair."""
    edge = region_edge(found["region"])
    figure = go.Figure()
    for name, place in (("least alpha", 1), ("largest alpha", 2)):
        figure.add_trace(
            go.Scatter(
                x=[each[0] for each in edge], y=[each[place] for each in edge], mode="lines+markers", name=f"95 % region, {name}",
                line={"color": COMPLETE, "width": 1.5}, marker={"color": COMPLETE, "symbol": "circle", "size": 5},
                hovertemplate="E %{x:.4g}, alpha %{y:.4g}<extra></extra>",
            )
        )  # fmt: skip
    best = found["coefficients"]
    figure.add_trace(
        go.Scatter(
            x=[best["E"]], y=[best["alpha"]], mode="markers", name="best fit", marker={"color": FRONT, "symbol": "diamond", "size": 11},
            hovertemplate="E %{x:.4g}, alpha %{y:.4g}<extra></extra>",
        )
    )  # fmt: skip
    return styled(figure, axis("E, the loss that no size takes away"), axis("alpha"), height=380)
