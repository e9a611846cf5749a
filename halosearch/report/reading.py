"""Read a study without running it: its spec, its rows, whether someone runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.known import Config, config_of_dials
from halosearch.record.evaluation import Evaluation
from halosearch.record.folders import Folders, find_study
from halosearch.record.storage import is_driven, open_for_reading
from halosearch.record.table import Table
from halosearch.record.trials import Trial, trials_of
from halosearch.report.evidence import evidence_of
from halosearch.spec.study import FILE, StudySpec, make_spec, read_yaml


@dataclass(frozen=True, slots=True)
class Opened:
    """A study on disk, open for reading."""

    spec: StudySpec
    folders: Folders
    table: Table
    running: bool

    @property
    def rows(self) -> Sequence[Evaluation]:
        """Its rows as they are now."""
        return self.table.rows()

    @property
    def trials(self) -> list[Trial]:
        """Its trials as they are now."""
        return trials_of(self.rows)

    @property
    def pool_size(self) -> int:
        """How many candidates its budget admits."""
        facts = self.table.facts()
        known = facts.get("pool") or facts.get("cell")  # format 2
        if known:
            return int(known["size"])
        from halosearch.cost.pools import pool_of

        return len(pool_of(self.spec))


def open_study(root: Path, name: str, *, experiments: bool = False) -> Opened:
    """Open a study for reading, with `experiments` one of these, too; a driver may be running it, and the folder need not be writable.

    Raises:
        UsageError: there is no such study, or it is an experiment.
        StoreError: it has no record, or a damaged one.
    """
    folders = find_study(root, name)
    spec = make_spec(read_yaml(folders.study / FILE))
    if spec.experiment is not None and not experiments:
        raise UsageError(f"{name!r} is an experiment, not a search", f"what it found: halosearch report {name}")
    return Opened(spec, folders, open_for_reading(spec, folders), is_driven(spec, folders))


def summary_of(opened: Opened) -> dict[str, Any]:
    """The study's summary, computed from its record."""
    from halosearch.report.summary import summarise  # pandas: half a second that `status` does not need

    return summarise(evidence_of(opened.spec, opened.folders, opened.rows, opened.pool_size))


def rewrite_report(opened: Opened) -> tuple[dict[str, Any], Path]:
    """Write the page of a study or an experiment anew."""
    if opened.spec.experiment is not None:
        from halosearch.report.experiment_page import write_experiment
        from halosearch.report.experiment_summary import experiment_summary

        if opened.spec.experiment.ladder:
            from halosearch.report.ladder_page import write_ladder

            law = write_ladder(opened.spec, opened.folders, opened.rows, opened.table.facts())
            return law, opened.folders.report / "index.html"
        found = experiment_summary(opened.spec, opened.folders, opened.rows, opened.table.facts())
        return found, write_experiment(opened.folders.report, found)
    from halosearch.report.page import write_report  # plotly and matplotlib

    summary = summary_of(opened)
    return summary, write_report(opened.folders.report, summary)


def candidate_of_trial(root: Path, text: str) -> Config:
    """The candidate of STUDY#trial.

    Raises:
        UsageError: no such study or trial.
    """
    name, _, number = text.partition("#")
    trials = open_study(root, name).trials
    if not number.isdigit() or int(number) >= len(trials):
        raise UsageError(
            f"study {name!r} has no trial {number!r}",
            f"it has trials 0 to {len(trials) - 1}" if trials else "it has no trials yet",
        )
    found: Config = config_of_dials(trials[int(number)].dials)
    return found
