"""Figures for papers: the same charts as on the page, as SVG or PDF by matplotlib, without a browser.

What is translated is what the charts of this package use: scatter (lines, markers, text, error bars) and horizontal bars on
linear and logarithmic axes, subplots, lines, rectangles and annotations. Anything else is an error, not a gap.
"""

from __future__ import annotations

import html
import io
import logging
import math
from typing import Any

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells everyone about its cache

import matplotlib as mpl  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from halosearch.report.figures.style import INK  # noqa: E402
from halosearch.report.numbers import short_number  # noqa: E402

WIDTH = 6.3
PIXELS_PER_INCH = 130
"""How many pixels of a page's chart height make an inch of a printed one."""
RASTER_FROM = 2000
"""Marks in one trace above which they are printed as an image, so that files stay small."""
SYMBOLS = {
    "circle": "o",
    "diamond": "D",
    "triangle-down": "v",
    "triangle-up": "^",
    "star": "*",
    "square": "s",
    "cross": "P",
    "x": "X",
    "hexagon": "h",
    "pentagon": "p",
    "bowtie": "d",
    "hourglass": "8",
    "line-ns": "|",
}
DASHES = {"solid": "-", "dot": ":", "dash": "--"}
STEPS = {"hv": "steps-post", "vh": "steps-pre"}
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "halosearch",
    "pdf.fonttype": 42,
    "legend.frameon": False,
    "legend.fontsize": 8,
}

ON_PAGE: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


def printed(figure: Any, kind: str, *, on_page: bool = False) -> bytes:
    """A Plotly figure of this package as the bytes of an SVG or PDF file; the same figure gives the same bytes.

    `on_page`: in the grey of a page's charts and without a background, so that it suits light and dark.

    Raises:
        ValueError: the figure holds a mark that is not translated.
    """
    source = figure.to_plotly_json()
    with mpl.rc_context(STYLE | (ON_PAGE if on_page else {})):
        drawn = _draw(source["data"], source["layout"])
        target = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"CreationDate": None, "ModDate": None}
        drawn.savefig(
            target, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.06, dpi=300, transparent=on_page
        )
    return target.getvalue()


def _draw(traces: Any, layout: dict[str, Any]) -> Figure:
    drawn = Figure(figsize=(WIDTH, layout.get("height", 460) / PIXELS_PER_INCH))
    FigureCanvasAgg(drawn)
    axes: dict[str, Any] = {}
    for trace in traces:
        name = trace.get("xaxis") or "x"
        if name not in axes:
            axes[name] = _axes(drawn, layout, name, axes)
        if trace.get("visible", True) is True:
            _trace(axes[name], trace)
    if not axes:
        axes["x"] = _axes(drawn, layout, "x", axes)
    for shape in layout.get("shapes", ()):
        _shape(axes["x"], shape)
    for note in layout.get("annotations", ()):
        _annotation(drawn, axes, note, layout)
    _legend(drawn, list(axes.values()))
    return drawn


def _axes(drawn: Figure, layout: dict[str, Any], name: str, others: dict[str, Any]) -> Any:
    number = name[1:]
    x, y = layout.get(f"xaxis{number}", {}), layout.get(f"yaxis{number}", {})
    (left, right), (bottom, top) = x.get("domain", (0.0, 1.0)), y.get("domain", (0.0, 1.0))
    shared = next(iter(others.values()), None) if y.get("matches") else None
    axes = drawn.add_axes((left, bottom, right - left, top - bottom), sharey=shared)
    for one, which in ((x, "x"), (y, "y")):
        _axis(axes, getattr(axes, f"{which}axis"), one, which)
    return axes


def _axis(axes: Any, drawn: Any, one: dict[str, Any], which: str) -> None:
    title = (one.get("title") or {}).get("text")
    if title:
        getattr(axes, f"set_{which}label")(title)
    if one.get("type") == "log":
        getattr(axes, f"set_{which}scale")("log")
        drawn.set_major_locator(LogLocator(10, (1.0, 2.0, 3.0, 5.0, 7.0)))
        drawn.set_minor_formatter(NullFormatter())
    if one.get("tickvals") is not None:
        getattr(axes, f"set_{which}ticks")(one["tickvals"], one["ticktext"])
        if one.get("tickangle"):
            drawn.set_tick_params(rotation=-one["tickangle"])
            for label in drawn.get_ticklabels():
                label.set_ha("right")
    else:
        drawn.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    if one.get("range"):
        getattr(axes, f"set_{which}lim")(*one["range"])
    elif one.get("rangemode") == "tozero":
        getattr(axes, f"set_{which}lim")(left=0) if which == "x" else axes.set_ylim(bottom=0)
    if one.get("showgrid") is False:
        axes.grid(visible=False, axis=which)
    if one.get("showticklabels") is False:
        drawn.set_ticklabels([])
        drawn.set_tick_params(length=0)


def _trace(axes: Any, trace: dict[str, Any]) -> None:
    xs = [math.nan if x is None else x for x in trace.get("x") or ()]
    ys = [math.nan if y is None else y for y in trace.get("y") or ()]
    if not xs:
        return
    if trace["type"] == "bar":
        axes.barh(ys, xs, color=trace["marker"]["color"], label=trace.get("name"), height=0.6)
        return
    if trace["type"] != "scatter":
        raise ValueError(f"a trace of type {trace['type']} is not translated")
    transform = axes.get_xaxis_transform() if trace.get("yaxis") == "y2" else axes.transData
    named = trace.get("name") if trace.get("showlegend", True) else None
    style = _line_style(trace) | _marker_style(trace)
    axes.plot(
        xs,
        ys,
        label=named or "_",
        transform=transform,
        alpha=trace.get("opacity", 1),
        rasterized=len(xs) > RASTER_FROM,
        **style,
    )
    _error_bars(axes, trace, xs, ys)
    if "text" in trace.get("mode", ""):
        for x, y, text in zip(xs, ys, trace["text"], strict=True):
            below = "bottom" in str(trace.get("textposition"))
            axes.annotate(
                text,
                (x, y),
                (0, -5 if below else 5),
                xycoords=transform,
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=7,
            )


def _line_style(trace: dict[str, Any]) -> dict[str, Any]:
    if "lines" not in trace["mode"]:
        return {"linestyle": ""}
    line = trace.get("line") or {}
    return {
        "color": line.get("color"),
        "linewidth": 0.8 * line.get("width", 2),
        "linestyle": DASHES[line.get("dash") or "solid"],
        "drawstyle": STEPS.get(line.get("shape") or "", "default"),
    }


def _marker_style(trace: dict[str, Any]) -> dict[str, Any]:
    if "markers" not in trace["mode"]:
        return {}
    marker = trace.get("marker") or {}
    symbol = marker.get("symbol") or "circle"
    colour = marker.get("color") or (trace.get("line") or {}).get("color")
    return {
        "marker": SYMBOLS[symbol.removesuffix("-open")],
        "markersize": 0.6 * marker.get("size", 6),
        "markeredgecolor": colour,
        "markerfacecolor": "none" if symbol.endswith("-open") else colour,
    }


def _error_bars(axes: Any, trace: dict[str, Any], xs: list[float], ys: list[float]) -> None:
    for name in ("error_x", "error_y"):
        bars = trace.get(name) or {}
        if bars.get("array"):
            lengths = [bars.get("arrayminus") or bars["array"], bars["array"]]
            kind = {name.replace("error_", "") + "err": lengths}
            axes.errorbar(xs, ys, **kind, fmt="none", ecolor=bars["color"], elinewidth=0.8, label="_")


def _shape(axes: Any, shape: dict[str, Any]) -> None:
    line = shape.get("line") or {}
    if shape["type"] == "line":
        transform = _placed(axes, shape)
        axes.plot(
            [shape["x0"], shape["x1"]],
            [shape["y0"], shape["y1"]],
            transform=transform,
            color=line.get("color"),
            linewidth=0.8,
            linestyle=DASHES[line.get("dash") or "solid"],
            label="_",
        )
    elif shape["type"] == "rect":
        axes.axvspan(shape["x0"], shape["x1"], color=shape["fillcolor"], alpha=shape["opacity"], linewidth=0)
    else:
        raise ValueError(f"a shape of type {shape['type']} is not translated")


def _placed(axes: Any, item: dict[str, Any]) -> Any:
    """Heights are shares of the panel where the item says so, else values."""
    yref = item.get("yref") or ""
    return axes.get_xaxis_transform() if yref == "paper" or "domain" in yref else axes.transData


def _annotation(drawn: Figure, axes: dict[str, Any], note: dict[str, Any], layout: dict[str, Any]) -> None:
    text = html.unescape(note["text"])
    if note.get("xref") == "paper":
        drawn.text(note["x"], note["y"], text, ha="center", va="bottom", fontsize=8)
        return
    where = axes["x"]
    logarithmic = layout.get("xaxis", {}).get("type") == "log"
    x = 10 ** note["x"] if logarithmic else note["x"]
    transform = _placed(where, note)
    where.text(
        x,
        note["y"],
        text,
        transform=transform,
        fontsize=7,
        ha={"left": "left", "right": "right"}.get(note.get("xanchor") or "", "center"),
        va={"top": "top", "bottom": "bottom"}.get(note.get("yanchor") or "", "bottom"),
        clip_on=False,
    )


def _legend(drawn: Figure, axes: list[Any]) -> None:
    handles, names = [], []
    for one in axes:
        for handle, name in zip(*one.get_legend_handles_labels(), strict=True):
            if name not in names:
                handles.append(handle)
                names.append(name)
    if handles:
        bottom = drawn.get_tightbbox().y0 / drawn.get_figheight()
        drawn.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, bottom), ncols=2)
