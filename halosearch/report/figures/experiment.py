"""Charts of an experiment: effects with their intervals, and the scores of every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from halosearch.analysis.expectations import SCORE
from halosearch.analysis.verdicts import CONFIRMED, REFUTED, UNDECIDED
from halosearch.report.figures.style import COMPLETE, EFFICIENTNET, FRONT, PRUNED, axis, styled, words

VERDICTS = {CONFIRMED: (EFFICIENTNET, "circle"), REFUTED: (FRONT, "x"), UNDECIDED: (PRUNED, "diamond-open")}
ROW = 46
"""Pixels of a row of a chart."""


def prepare_effects(expectations: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The judged expectations of one metric, the first on top; a reach of their bounds, which is what they are judged against."""
    rows = [each for each in expectations if each["metric"] == metric and each["effect"] is not None]
    return {"metric": metric, "rows": rows[::-1]}


def draw_effects(data: Mapping[str, Any]) -> Any:
    """A row for each expectation: the measured effect with its interval, its bound as a line, its margin as a bar."""
    figure, rows = go.Figure(), data["rows"]
    for verdict, (colour, symbol) in VERDICTS.items():
        own = [(place, each) for place, each in enumerate(rows) if each["verdict"] == verdict]
        figure.add_trace(
            go.Scatter(
                x=[each["effect"] for _, each in own],
                y=[place for place, _ in own],
                mode="markers",
                name=verdict,
                marker={"color": colour, "symbol": symbol, "size": 11},
                error_x=_bars([each for _, each in own], colour),
                text=[words([each["text"]]) for _, each in own],
                hovertemplate="%{text}<br>%{x:.4g}<extra></extra>",
            )
        )
    for place, each in enumerate(rows):
        margin = each["margin"] or 0.0
        for x in sorted({each["bound"] - margin, each["bound"] + margin}):
            figure.add_trace(
                go.Scatter(
                    x=[x, x], y=[place - 0.32, place + 0.32], mode="lines", line={"color": COMPLETE, "width": 2},
                    name="bound", showlegend=False, hoverinfo="skip",
                )
            )  # fmt: skip
    title = "difference in score" if data["metric"] == SCORE else "ratio of step times"
    names = axis(
        "", tickmode="array", tickvals=list(range(len(rows))), ticktext=[words([each["text"]]) for each in rows]
    )
    names |= {"range": [-0.6, len(rows) - 0.4]}
    return styled(figure, axis(title), names, height=130 + ROW * len(rows))


def _bars(rows: Sequence[Mapping[str, Any]], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if each["high"] is None else each["high"] - each["effect"] for each in rows],
        "arrayminus": [0.0 if each["low"] is None else each["effect"] - each["low"] for each in rows],
        "color": colour,
        "thickness": 1.5,
    }


def draw_arms(arms: Sequence[Mapping[str, Any]]) -> Any:
    """The scores of every arm, one mark for each seed, and their means."""
    figure, rows = go.Figure(), list(arms)[::-1]
    points = [(score, place) for place, arm in enumerate(rows) for score in arm["scores"]]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in points], y=[y for _, y in points], mode="markers", name="a seed",
            marker={"color": PRUNED, "symbol": "circle-open", "size": 7}, hovertemplate="%{x:.4f}<extra></extra>",
        )
    )  # fmt: skip
    known = [(place, arm) for place, arm in enumerate(rows) if arm["score"] is not None]
    figure.add_trace(
        go.Scatter(
            x=[arm["score"] for _, arm in known], y=[place for place, _ in known], mode="markers", name="mean",
            marker={"color": COMPLETE, "symbol": "diamond", "size": 11}, text=[words([arm["candidate"]]) for _, arm in known],
            hovertemplate="%{text}<br>mean %{x:.4f}<extra></extra>",
        )
    )  # fmt: skip
    names = axis("", tickmode="array", tickvals=list(range(len(rows))), ticktext=[words([arm["name"]]) for arm in rows])
    names |= {"range": [-0.6, len(rows) - 0.4]}
    return styled(figure, axis("score on held-out images"), names, height=130 + ROW * len(rows))
