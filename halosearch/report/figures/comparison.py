"""Fronts of two studies in one chart."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from halosearch.report.columns import BY_NAME, SCORE
from halosearch.report.figures.style import COMPLETE, FRONT, axis, cost_axis, styled, words

STYLES = ((FRONT, "diamond", "solid"), (COMPLETE, "square-open", "dash"))


def draw_fronts(found: dict[str, Any]) -> Any:
    """Score against the common cost; each study's undominated trials as a staircase."""
    figure, cost = go.Figure(), BY_NAME[found["cost"]]
    for name, rows, (colour, symbol, dash) in zip(found["studies"], found["fronts"], STYLES, strict=True):
        figure.add_trace(
            go.Scatter(
                x=[row["cost"] for row in rows],
                y=[row["score"] for row in rows],
                mode="lines+markers",
                name=words([name]),
                line={"color": colour, "shape": "hv", "width": 1.5, "dash": dash},
                marker={"color": colour, "symbol": symbol, "size": 10},
                text=[words([f"trial {row['trial']}", row["candidate"]]) for row in rows],
                hovertemplate="%{text}<br>score %{y:.3f}<br>%{x:.4g}<extra>%{fullData.name}</extra>",
            )
        )
    return styled(figure, cost_axis(cost, [row["cost"] for rows in found["fronts"] for row in rows]), axis(SCORE.title))
