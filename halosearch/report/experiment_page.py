"""The page of an experiment: question, verdicts with their effects drawn, arms, what was expected when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halosearch.analysis.expectations import SCORE, STEP_TIME
from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.figures.experiment import draw_arms, draw_effects, prepare_effects
from halosearch.report.printed import printed
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.tops import experiment_top


def write_experiment(folder: Path, summary: dict[str, Any]) -> Path:
    """Write experiment.json and index.html; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / "experiment.json", to_json(summary) + "\n")
    path = folder / "index.html"
    write_text(path, render(summary))
    return path


def experiment_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """Every chart of an experiment by name; those that have nothing to show are left out."""
    drawn = {}
    for name, metric in (("effects", SCORE), ("step-times", STEP_TIME)):
        data = prepare_effects(summary["expectations"], metric)
        if data["rows"]:
            drawn[name] = draw_effects(data)
    if any(arm["scores"] for arm in summary["arms"]):
        drawn["arms"] = draw_arms(summary["arms"])
    return drawn


def render(summary: dict[str, Any]) -> str:
    """The page as text; the same record gives the same text."""
    figures = experiment_figures(summary)
    return page(
        "experiment.html.j2",
        summary["study"],
        {"figures": {name: figure.to_plotly_json() for name, figure in figures.items()}, "config": CONFIG},
        summary=summary,
        top=experiment_top(summary),
        charts=[(name, base64_text(printed(figure, "svg", on_page=True))) for name, figure in figures.items()],
        provenance=to_json(summary["provenance"]),
    )
