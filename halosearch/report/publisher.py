"""The page of a running study, written by a reader of its rows: it cannot stop the study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halosearch.analysis.frontier import GrowingFront
from halosearch.record.evaluation import COMPLETE, STEP_TIME, TRIAL, Evaluation
from halosearch.record.folders import Folders
from halosearch.report.evidence import evidence_of
from halosearch.report.summary import summarise
from halosearch.spec.study import StudySpec

QUIET = 9.0
"""After the report was written, it is left alone for so many times as long as that took."""


class Publisher:
    """Writes the report at the end, and while the study runs when the front gains a member.

    While it runs the report takes a tenth of the time at most: what is held back is written with a later member, or at the end.
    """

    def __init__(
        self,
        spec: StudySpec,
        folders: Folders,
        rows: Sequence[Evaluation],
        pool_size: int,
        message: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rows`: the table, which grows; `message`: told of a page that could not be written. Nothing is written yet."""
        self._spec, self._folders, self._rows, self._pool_size = spec, folders, rows, pool_size
        self._message, self._clock, self._not_before = message, clock, float("-inf")
        self._front = GrowingFront()
        for row in rows:
            self._joins_front(row)
        self._owed = False

    @property
    def page(self) -> Path:
        """Where the page is written."""
        return self._folders.report / "index.html"

    def publish(self) -> dict[str, Any] | None:
        """Write the report; returns its summary. What goes wrong is one line to the reader, and the page stays as it was."""
        began = self._clock()
        try:
            summary = self._write()
        except Exception as error:  # noqa: BLE001  # whatever a page stumbles over, the study goes on
            self._message(f"the page was not written ({type(error).__name__}: {error}); nothing recorded is lost")
            summary = None
        self._owed, self._not_before = False, self._clock() + QUIET * (self._clock() - began)
        return summary

    def _write(self) -> dict[str, Any]:
        from halosearch.report.page import write_report  # plotly and matplotlib: not for commands that only read

        summary = summarise(evidence_of(self._spec, self._folders, self._rows, self._pool_size))
        write_report(self._folders.report, summary)
        return summary

    def refresh(self, row: Evaluation) -> None:
        """Called at the end of every row."""
        self._owed = self._joins_front(row) or self._owed
        if self._owed and self._clock() >= self._not_before:
            self.publish()

    def _joins_front(self, row: Evaluation) -> bool:
        if row.kind == STEP_TIME:
            return row.state == COMPLETE
        if row.kind != TRIAL or row.state != COMPLETE:
            return False
        cost = row.result["step_time_s"] if "step_time_s" in row.result else row.costs["macs"]
        return self._front.add(float(row.result["score"]), float(cost))
