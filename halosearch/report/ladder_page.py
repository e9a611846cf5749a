"""The page of a ladder: the law of its best shapes, how they scale, what became of its forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halosearch.errors import UsageError
from halosearch.record.evaluation import ARM, COMPLETE, Evaluation
from halosearch.record.folders import Folders
from halosearch.report.experiment_page import write_experiment
from halosearch.report.experiment_summary import experiment_summary
from halosearch.report.ladder_summary import check_of, forecasts_in, ladder_words, losses_of
from halosearch.report.law_page import write_law
from halosearch.report.law_summary import law_summary
from halosearch.report.star_page import write_star
from halosearch.spec.study import StudySpec


def write_ladder(
    spec: StudySpec, folders: Folders, rows: Sequence[Evaluation], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the page and return its summary; while there is too little for a law, the page shows the arms. A star has a page of its own."""
    assert spec.experiment is not None
    if spec.experiment.star:
        return write_star(spec, folders, rows, facts)
    arms = experiment_summary(spec, folders, rows, facts)
    if not any(row.kind == ARM and row.state == COMPLETE for row in rows):
        write_experiment(folders.report, arms)
        return arms
    checked = check_of(spec, rows, forecasts_in(facts))
    more = [*ladder_words(spec, rows), *checked]
    try:
        law = law_summary(losses_of(spec, rows, spec.name), [spec.name], cooled=True)
    except UsageError as error:
        arms["answer"] = [f"No law yet: {error}.", *more, *arms["answer"]]
        write_experiment(folders.report, arms)
        return arms
    law |= {"study": spec.name, "trainings": arms["trainings"], "arms": arms["arms"], "answer": [*law["answer"], *more]}
    law |= {"checked": checked, "provenance": arms["provenance"]}
    write_law(folders.report, law)
    return law
