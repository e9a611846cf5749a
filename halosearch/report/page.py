"""The HTML page: one file that opens offline, makes no request and runs no text of the study's as code."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from halosearch.files import write_text
from halosearch.records.store import to_json
from halosearch.report.figures import (
    draw_curves,
    draw_front,
    draw_hypervolume,
    draw_published,
    prepare_front,
    prepare_published,
)
from halosearch.report.wording import seconds_words, trial_of

CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "responsive": True}
DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = JSON.parse(document.getElementById("config").textContent);
for (const [id, figure] of Object.entries(figures)) Plotly.newPlot(id, figure.data, figure.layout, config);
for (const button of document.querySelectorAll("button[data-copy]"))
  button.addEventListener("click", () => { navigator.clipboard.writeText(button.dataset.copy); button.textContent = "copied"; });
"""
TABLE_COLUMNS = ("trial", "state", "score", "step_time_s", "params", "macs", "candidate", "reason")
CSV_LEFT_OUT = ("curve", "accuracy")


def write_report(folder: Path, summary: dict[str, Any]) -> Path:
    """Write summary.json, trials.csv and index.html, each whole; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / "summary.json", to_json(summary) + "\n")
    rows = [{key: value for key, value in trial.items() if key not in CSV_LEFT_OUT} for trial in summary["trials"]]
    write_text(folder / "trials.csv", pd.DataFrame(rows).to_csv(index=False))
    page = folder / "index.html"
    write_text(page, render(summary))
    return page


def render(summary: dict[str, Any]) -> str:
    """The page as text; the same summary gives the same text."""
    figures = _figures(summary)
    library = get_plotlyjs()
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (library, DRAW)
    )
    environment = Environment(
        loader=PackageLoader("halosearch.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = seconds_words
    template = environment.get_template("page.html.j2")
    return template.render(
        summary=summary,
        decisions=[d | trial_of(summary, d["trial"]) for d in summary["decisions"]],
        columns=TABLE_COLUMNS,
        library=library,
        draw=DRAW,
        hashes=hashes,
        figures=_json(figures),
        config=_json(CONFIG),
        figure_ids=list(figures),
        published=prepare_published(),
        provenance=to_json(summary["provenance"]),
        spec=to_json(summary["spec"]),
    )


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    figures = {
        "front": draw_front(prepare_front(summary)),
        "curves": draw_curves(summary),
        "hypervolume": draw_hypervolume(summary),
        "published": draw_published(prepare_published(), summary["spec"]["budget"]),
    }
    return {name: json.loads(figure.to_json()) for name, figure in figures.items()}


def _json(value: Any) -> str:
    """JSON that cannot end its script element or open a comment."""
    return (
        json.dumps(value, sort_keys=True, allow_nan=False)
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
