"""The page of a star: how the best value of every varied dial moves with compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halosearch.files import write_text
from halosearch.record.evaluation import Evaluation
from halosearch.record.folders import Folders
from halosearch.record.trials import to_json
from halosearch.report.experiment_summary import experiment_summary
from halosearch.report.figures.star import draw_star
from halosearch.report.printed import printed
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.star_summary import star_summary
from halosearch.report.tops import star_top
from halosearch.spec.study import StudySpec

COMPUTE = (
    "Compute is MACs of the full candidate times images; losses are 1 minus the score of its twin, all seeds. The form and its exponent are "
    "those of arXiv:2305.13035; intervals by profile (95 %)."
)


def write_star(
    spec: StudySpec, folders: Folders, rows: Sequence[Evaluation], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write star.json and index.html; returns the summary.

    Raises:
        OSError: the folder cannot be written.
    """
    assert spec.experiment is not None
    summary = experiment_summary(spec, folders, rows, facts)
    dials = star_summary(spec.experiment, rows)
    question, *rest = summary["answer"]
    summary |= {"dials": dials, "answer": [question, *(dial["answer"] for dial in dials), *rest]}
    write_text(folders.report / "star.json", to_json(summary) + "\n")
    figures = {f"dial-{dial['field']}": draw_star(dial) for dial in dials if dial["points"]}
    text = page(
        "star.html.j2",
        summary["study"],
        {"figures": {name: figure.to_plotly_json() for name, figure in figures.items()}, "config": CONFIG},
        summary=summary,
        top=star_top(summary),
        compute=COMPUTE,
        charts=[(name, base64_text(printed(figure, "svg", on_page=True))) for name, figure in figures.items()],
        provenance=to_json(summary["provenance"]),
    )
    write_text(folders.report / "index.html", text)
    return summary
