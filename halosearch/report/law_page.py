"""The page of a scaling law."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.figures.law import draw_losses, draw_region
from halosearch.report.printed import printed
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.tops import law_top


def law_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """Every chart of a law by name."""
    drawn = {"losses": draw_losses(summary)}
    if summary["region"] is not None:
        drawn["region"] = draw_region(summary)
    return drawn


def write_law(folder: Path, summary: dict[str, Any]) -> Path:
    """Write law.json and index.html; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / "law.json", to_json(summary) + "\n")
    path = folder / "index.html"
    figures = law_figures(summary)
    text = page(
        "law.html.j2",
        "scaling law",
        {"figures": {name: figure.to_plotly_json() for name, figure in figures.items()}, "config": CONFIG},
        summary=summary,
        top=law_top(summary),
        charts=[(name, base64_text(printed(figure, "svg", on_page=True))) for name, figure in figures.items()],
    )
    write_text(path, text)
    return path
