"""Colours and axes that all charts share. Shape and line style repeat what colour says; all colours hold 3:1 on white and near-black."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from halosearch.report.columns import Column
from halosearch.report.numbers import log_ticks, seconds_words, short_number

FRONT, COMPLETE, EFFICIENTNET, PRUNED = "#D55E00", "#0072B2", "#009E73", "#767676"
GRID = "rgba(128,128,128,0.25)"
INK = "#767676"
HEIGHT = 460


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """An axis with a quiet grid."""
    return {
        "title": {"text": title},
        "type": "log" if log else "linear",
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "automargin": True,
        **more,
    }


def log_axis(
    title: str, low: float, high: float, words: Callable[[float], str] = short_number, **more: Any
) -> dict[str, Any]:
    """A logarithmic axis from low to high that has round numbers for labels; Plotly's own has one or none within a decade."""
    ticks = log_ticks(low, high)
    return axis(
        f"{title} (log scale)",
        log=True,
        tickmode="array",
        tickvals=ticks,
        ticktext=[words(each) for each in ticks],
        **more,
    )


def cost_axis(cost: Column, values: Iterable[float]) -> dict[str, Any]:
    """The axis of a cost with labels in its unit; the page's script labels its own in the same way."""
    known = [value for value in values if value > 0]
    if not cost.log or not known:
        return axis(cost.title, log=cost.log)
    return log_axis(cost.title, *reach(known), seconds_words if cost.name.endswith("step_time_s") else short_number)


def reach(values: Iterable[float]) -> tuple[float, float]:
    """Smallest and largest."""
    known = list(values)
    return min(known), max(known)


def styled(figure: Any, x: dict[str, Any], y: dict[str, Any], *, height: int = HEIGHT) -> Any:
    """The figure with the house's layout and these axes."""
    figure.update_layout(**layout(height), xaxis=x, yaxis=y)
    return figure


def layout(height: int = HEIGHT) -> dict[str, Any]:
    """What every chart has: no background, so that it suits light and dark pages; legend below."""
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 13},
        "margin": {"l": 56, "r": 16, "t": 24, "b": 40},
        "legend": {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "font": {"size": 12}},
        "height": height,
        "hovermode": "closest",
    }


def words(lines: list[str]) -> str:
    """Lines of a hover label. Plotly reads a few HTML tags in labels, so nothing of a study may look like one."""
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines)
