"""Colours and axes that all charts share. Shape and line style repeat what colour says; all colours hold 3:1 on white and near-black."""

from __future__ import annotations

import re
from typing import Any

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
        "margin": {"l": 64, "r": 20, "t": 36, "b": 60},
        "legend": {"orientation": "h", "y": -90 / height, "yanchor": "top"},
        "height": height,
        "hovermode": "closest",
    }


def words(lines: list[str]) -> str:
    """Lines of a hover label. Plotly reads a few HTML tags in labels, so nothing of a study may look like one."""
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines)


def short_number(value: float) -> str:
    """Four digits and a letter for thousands: 20.91M. The page's script writes numbers the same way."""
    for unit, scale, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= unit:
            return f"{_plain(value / scale)}{letter}"
    return _plain(value)


def _plain(value: float) -> str:
    """Four digits, without an exponent where JavaScript writes none."""
    rounded = float(f"{value:.4g}")
    if rounded == 0 or 1e-6 <= abs(rounded) < 1e21:
        return f"{rounded:.10f}".rstrip("0").rstrip(".")
    return re.sub(r"e([+-])0*(\d+)$", r"e\1\2", f"{rounded:.4g}")
