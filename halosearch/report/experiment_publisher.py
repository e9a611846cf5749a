"""The page of a running experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from halosearch.record.evaluation import ARM, COMPLETE, STEP_TIMES, Evaluation
from halosearch.record.folders import Folders
from halosearch.record.table import Table
from halosearch.report.publisher import Publisher
from halosearch.spec.study import StudySpec


class ExperimentPublisher(Publisher):
    """Writes an experiment's page at the end, and while it runs as the page of a study is written."""

    def __init__(
        self,
        spec: StudySpec,
        folders: Folders,
        table: Table,
        rows: Sequence[Evaluation],
        message: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`table`: for what was expected when; `rows` grow with it."""
        self._table = table
        self._ladder = spec.experiment is not None and spec.experiment.ladder
        super().__init__(spec, folders, rows, 0, message)

    def _write(self) -> dict[str, Any]:
        if self._ladder:
            from halosearch.report.ladder_page import write_ladder

            return write_ladder(self._spec, self._folders, self._rows, self._table.facts())
        from halosearch.report.experiment_page import write_experiment  # plotly: not for commands that only read
        from halosearch.report.experiment_summary import experiment_summary

        summary = experiment_summary(self._spec, self._folders, self._rows, self._table.facts())
        write_experiment(self._folders.report, summary)
        return summary

    def _joins_front(self, row: Evaluation) -> bool:
        if self._ladder:  # a law is fitted once, at the end
            return False
        return row.kind in (ARM, STEP_TIMES) and row.state == COMPLETE
