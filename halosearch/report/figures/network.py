"""The drawing of a network: a row per stage with its map, its window in it, and bars of where parameters, MACs and time go.

Written as SVG text of our own numbers alone: no word of a study is in it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from halosearch.report.figures.style import COMPLETE, FRONT, PRUNED

WIDTH, ROW, TOP = 610, 48, 30
LARGEST = 40.0
"""Pixels of the largest map."""
BARS = (("params", "parameters"), ("macs", "MACs"), ("step_time", "step time"))
BAR_X, BAR_WIDTH, BAR_GAP = 350, 72, 88
KINDS = {"attention": "attention", "conv": "convolution", "stem": "stem", "head": "classifier", "final": "last layer"}


def draw_network(rows: Sequence[Mapping[str, Any]], label: str = "") -> str:
    """The drawing as an `svg` element that takes the colour of the text around it. `label`: what a screen reader says."""
    bars = [(key, title) for key, title in BARS if any(row[key] is not None for row in rows)]
    height = TOP + ROW * len(rows) + 4
    largest = max((row["side"] for row in rows), default=1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label, quote=True)}" '
        'font-family="system-ui, sans-serif" font-size="12.5" fill="currentColor">'
    ]
    parts += [_text(BAR_X + BAR_GAP * place, 16, title, "small") for place, (_, title) in enumerate(bars)]
    parts += [_row(row, TOP + ROW * place, largest, bars) for place, row in enumerate(rows)]
    return "".join([*parts, "</svg>"])


def standalone(svg: str) -> str:
    """The drawing as a file of its own: black on white."""
    return svg.replace("<svg ", '<svg color="#1b1b1b" style="background:#ffffff" ', 1) + "\n"


def _row(row: Mapping[str, Any], top: float, largest: int, bars: Sequence[tuple[str, str]]) -> str:
    middle = top + ROW / 2
    kind = KINDS.get(row["kind"], row["kind"])
    what = kind if row["kind"] in ("stem", "head", "final") else f"{row['name']}: {kind}"
    blocks = (
        "" if row["kind"] in ("stem", "head", "final") else f"{row['blocks']} block{'s' if row['blocks'] > 1 else ''}, "
    )
    map_words = f"{row['side']}×{row['side']}" if row["side"] > 0 else "no map"
    window = "" if row["window"] is None else f", sees {row['window']}×{row['window']}"
    detail = f"{blocks}{map_words}{window}, {row['channels']:,} channels"
    return "".join(
        [
            _map(row, middle, largest),
            _text(58, middle - 4, what, "strong"),
            _text(58, middle + 12, detail, "small"),
            *(_bar(row[key], BAR_X + BAR_GAP * place, middle) for place, (key, _) in enumerate(bars)),
        ]
    )


def _map(row: Mapping[str, Any], middle: float, largest: int) -> str:
    """The map as a square, which shrinks slower than the map so that the last can be seen, and the window in it to scale."""
    side = LARGEST * (row["side"] / largest) ** 0.5
    x, y = 26 - side / 2, middle - side / 2
    attends = row["window"] is not None
    colour = FRONT if attends else COMPLETE if row["kind"] == "conv" else PRUNED
    found = f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    if attends:
        seen = side * row["window"] / max(1, row["side"])
        corner = f'x="{26 - seen / 2:.1f}" y="{middle - seen / 2:.1f}"'
        found += f'<rect {corner} width="{seen:.1f}" height="{seen:.1f}" fill="{FRONT}" fill-opacity="0.45"/>'
    elif row["kind"] == "conv":
        found += f'<rect x="{24.5:.1f}" y="{middle - 1.5:.1f}" width="3" height="3" fill="{COMPLETE}"/>'
    return found


def _bar(share: float | None, x: float, middle: float) -> str:
    if share is None:
        return _text(x, middle + 4, "–", "small")
    length = max(0.5, BAR_WIDTH * share)
    outline = (
        f'<rect x="{x}" y="{middle - 11:.1f}" width="{BAR_WIDTH}" height="8" fill="{PRUNED}" fill-opacity="0.18"/>'
    )
    filled = f'<rect x="{x}" y="{middle - 11:.1f}" width="{length:.1f}" height="8" fill="{COMPLETE}"/>'
    return (
        outline
        + filled
        + _text(x, middle + 12, f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %", "small")
    )


def _text(x: float, y: float, words: str, look: str) -> str:
    style = 'font-weight="600"' if look == "strong" else 'font-size="11.5" fill-opacity="0.8"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{html.escape(words)}</text>'
