"""Trials as marks: what each state looks like, everywhere."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from halosearch.report.figures.style import COMPLETE, PRUNED, words

ONLY_PREDICTED = "predicted"
"""A complete trial whose step was not measured."""
PREDICTED_SEARCHED = "predicted-searched"
"""Such a trial that the search proposed."""
RANDOM = "random"
"""A complete trial that was drawn evenly from the pool, before the search."""
STATES = {
    "pruned": ("stopped early", PRUNED, "triangle-down-open", 8),
    RANDOM: ("random draw", COMPLETE, "circle-open", 8),
    "complete": ("by the search", COMPLETE, "circle", 8),
    ONLY_PREDICTED: ("random, step predicted", COMPLETE, "square-open", 7),
    PREDICTED_SEARCHED: ("by the search, step predicted", COMPLETE, "square", 7),
}


Look = tuple[str, str, str, int]
"""Name in the legend, colour, symbol, size."""


def by_origin(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Complete trials by who asked for them: drawn evenly, or proposed by the search."""
    if rows.empty:
        return {RANDOM: rows, "complete": rows}
    even = rows["drawn_evenly"].astype(bool)
    return {RANDOM: rows[even], "complete": rows[~even]}


def points(rows: pd.DataFrame, x: str, look: Look, meta: dict[str, Any] | None = None) -> Any:
    """A trace of score against column `x`, labelled with trial and candidate."""
    name, colour, symbol, size = look
    empty = rows.empty
    return go.Scatter(
        x=[] if empty else rows[x].tolist(),
        y=[] if empty else rows["score"].tolist(),
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": size},
        text=[] if empty else [words([f"trial {n}", c]) for n, c in zip(rows["trial"], rows["candidate"], strict=True)],
        hovertemplate="%{text}<br>score %{y:.3f}<br>%{x:.4g}<extra></extra>",
        meta=meta,
    )
