"""The charts, as two functions each: prepare (numbers) and draw (marks). Lists, not arrays: the same numbers give the same bytes.

A trace that carries `meta` shows trials one by one. The page leaves its numbers out and draws it from the table it holds; the
static figures draw it as it is.
"""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

from halosearch.report.figures.front import draw_front, prepare_front
from halosearch.report.figures.study import (
    draw_distribution,
    draw_hypervolume,
    draw_importance,
    draw_published,
    prepare_hypervolume,
    prepare_published,
)
from halosearch.report.figures.trials import (
    draw_curves,
    draw_parallel,
    draw_slices,
    prepare_parallel,
    prepare_slices,
)

Figure = Any


def figures(
    summary: dict[str, Any], table: pd.DataFrame, curves: list[dict[str, Any]], *, trials: bool = True
) -> dict[str, Figure]:
    """Every chart of a study by name; those that have nothing to show are left out. Without `trials`, only what is around them.

    `table` is the summary's `flat_table`, `curves` its `prepare_curves`.
    """
    drawn: dict[str, Figure] = {"front": draw_front(prepare_front(summary, table), trials=trials)}
    if len(table):
        drawn["parallel"] = draw_parallel(prepare_parallel(table, summary["front"], trials=trials))
        drawn["slices"] = draw_slices(prepare_slices(table, summary["front"]), trials=trials)
        drawn["curves"] = draw_curves(curves, trials=trials)
    if summary["hypervolume"]:
        drawn["hypervolume-trials"] = draw_hypervolume(prepare_hypervolume(summary, by="trial"))
        drawn["hypervolume-seconds"] = draw_hypervolume(prepare_hypervolume(summary, by="seconds"))
    if summary["importance"] is not None:
        drawn["importance"] = draw_importance(summary["importance"])
    if summary["distribution"] is not None and summary["distribution"]["points"]:
        drawn["distribution"] = draw_distribution(summary["distribution"])
    drawn["published"] = draw_published(prepare_published(summary["spec"]["budget"]))
    return drawn


def numbers_behind(figure: Figure) -> pd.DataFrame:
    """Every mark of a chart as a row: trace, x, y, text; what a CSV beside a figure holds."""
    rows = []
    for trace in figure.to_plotly_json()["data"]:
        xs, ys = (list(trace.get(axis) or ()) for axis in ("x", "y"))
        texts = list(trace.get("text") or ())
        for place, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if x is not None and y is not None:
                text = html.unescape(texts[place].replace("<br>", " ")) if place < len(texts) else ""
                panel = trace.get("xaxis", "x")
                rows.append({"trace": trace.get("name", ""), "panel": panel, "x": x, "y": y, "text": text})
    return pd.DataFrame(rows, columns=["trace", "panel", "x", "y", "text"])
