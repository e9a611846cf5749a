"""How far a study is, in little time: no fit, no shuffles, no page."""

from __future__ import annotations

from typing import Any

from halosearch.analysis.frontier import frontier
from halosearch.analysis.validation_rows import validation_of
from halosearch.record.evaluation import HELD_OUT, RETEST
from halosearch.record.trials import reference_of, table, trials_of
from halosearch.report.evidence import shown_spec
from halosearch.report.reading import Opened
from halosearch.report.summary import answer_of, counts_of


def status_of(opened: Opened) -> dict[str, Any]:
    """The status as plain values."""
    rows, spec = opened.rows, opened.spec
    trials = trials_of(rows)
    known = table(trials)
    front = frontier(known)
    validation = validation_of(rows, spec.uniform)
    return {
        "study": spec.name,
        "running_now": opened.running,
        "counts": counts_of(known),
        "trials_wanted": spec.trials,
        "retests": sum(row.kind == RETEST and row.runs > 0 for row in rows),
        "retests_wanted": spec.retests,
        "finals": sum(row.kind == HELD_OUT and row.runs > 0 for row in rows),
        "validation": validation,
        "reference": reference_of(rows) is not None,
        "front": [int(number) for number in front["trial"]] if len(front) else [],
        "answer": answer_of(shown_spec(spec), rows, trials, validation),
        "report": str(opened.folders.report / "index.html"),
    }
