"""The chart of a varied dial: loss over its values, a curve for every length of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from halosearch.report.figures.law import COLOURS, SYMBOLS
from halosearch.report.figures.style import log_axis, reach, styled
from halosearch.report.numbers import short_number


def draw_star(found: Mapping[str, Any]) -> Any:
    """Loss over the dial, both logarithmic: every training a mark, the law a line between the values that were trained."""
    figure = go.Figure()
    lengths = sorted({point["images"] for point in found["points"]})
    curves = {curve["images"]: curve for curve in found.get("curves", ())}
    for place, images in enumerate(lengths):
        colour, name = COLOURS[place % len(COLOURS)], f"{short_number(images)} images"
        own = [point for point in found["points"] if point["images"] == images]
        figure.add_trace(
            go.Scatter(
                x=[point["value"] for point in own], y=[point["loss"] for point in own], mode="markers", name=name,
                marker={"color": colour, "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
                hovertemplate="%{x:.4g}: loss %{y:.4f}<extra></extra>",
            )
        )  # fmt: skip
        if images in curves:
            curve = curves[images]
            figure.add_trace(
                go.Scatter(
                    x=curve["values"], y=curve["loss"], mode="lines", name=f"law, {name}", line={"color": colour, "width": 1.5},
                    hovertemplate="%{x:.4g}: %{y:.4f}<extra></extra>",
                )
            )  # fmt: skip
    return styled(
        figure,
        log_axis(found["field"], *reach(p["value"] for p in found["points"])),
        log_axis("loss", *reach(p["loss"] for p in found["points"])),
        height=380,
    )
