"""From a study's record to its report: the facts that go beside the trials, the summary, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from halosearch.analysis.frontier import frontier
from halosearch.records.store import Store, table
from halosearch.report.page import write_report
from halosearch.report.summary import Evidence, summarise
from halosearch.study.candidates import comparison_with_published
from halosearch.study.folders import Folders
from halosearch.study.spec import StudySpec
from halosearch.study.trust import certificate_of

DATA_FILE = "data.json"


def evidence(spec: StudySpec, folders: Folders, store: Store, cell_size: int) -> Evidence:
    """What the report is made of; the step-time prediction is fitted over and over, which takes seconds in long studies."""
    facts_file = folders.study / DATA_FILE
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {"description": spec.data}
    shown = spec.model_dump(mode="json") | {
        "data": Path(spec.data).name
    }  # no path of a machine in what is mailed around
    from halosearch.cost.step_time import fit  # torch: not for usage errors
    from halosearch.study.prediction import audited, setting_for, timed_trials

    trials = store.trials()
    setting = setting_for(spec)
    timed = timed_trials(trials, setting)
    prediction = audited(timed, fit(timed.values(), setting))
    notes = store.notes()
    certificate = certificate_of(spec, trials, notes)
    return Evidence(shown, trials, notes, cell_size, facts, comparison_with_published(spec), certificate, prediction)


class Publisher:
    """Writes the report at the end, and while the study runs whenever the front has changed."""

    def __init__(self, spec: StudySpec, folders: Folders, store: Store, cell_size: int) -> None:
        """Nothing is written yet."""
        self._spec, self._folders, self._store, self._cell_size = spec, folders, store, cell_size
        self._front: list[int] | None = None

    def publish(self) -> tuple[dict[str, Any], Path]:
        """Write the report; returns its summary and its page."""
        summary = summarise(evidence(self._spec, self._folders, self._store, self._cell_size))
        self._front = summary["front"]
        return summary, write_report(self._folders.report, summary)

    def refresh(self) -> None:
        """Write the report if the front gained or lost a member; called at the end of every trial, so that it looks at no more."""
        front = frontier(table(self._store.trials()))["trial"]
        if [int(number) for number in front] != self._front:
            self.publish()
