"""Read a study without running it: its spec, its trials, whether someone runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.space import config_from_dials
from halosearch.record.folders import Folders, find_study
from halosearch.record.storage import is_driven, open_for_reading
from halosearch.record.store import Store
from halosearch.report.publish import evidence
from halosearch.report.summary import summarise
from halosearch.search.candidates import cell_of
from halosearch.spec.study import FILE, StudySpec, make_spec, read_yaml


@dataclass(frozen=True, slots=True)
class Opened:
    """A study on disk, open for reading."""

    spec: StudySpec
    folders: Folders
    store: Store
    running: bool


def open_study(root: Path, name: str) -> Opened:
    """Open a study for reading; a driver may be running it.

    Raises:
        UsageError: there is no such study.
        StoreError: it has no record, or a damaged one.
    """
    folders = find_study(root, name)
    spec = make_spec(read_yaml(folders.study / FILE))
    return Opened(spec, folders, open_for_reading(spec, folders), is_driven(spec, folders))


def summary_of(opened: Opened) -> dict[str, Any]:
    """The study's summary, computed from its record."""
    known = opened.store.notes().get("cell")
    size = int(known["size"]) if known else len(cell_of(opened.spec))
    return summarise(evidence(opened.spec, opened.folders, opened.store, size))


def rewrite_report(opened: Opened) -> tuple[dict[str, Any], Path]:
    """Write the page anew."""
    from halosearch.report.page import write_report  # plotly and matplotlib: a second that `status` does not need

    summary = summary_of(opened)
    return summary, write_report(opened.folders.report, summary)


def candidate_of_trial(root: Path, text: str) -> HaloNetConfig:
    """The candidate of STUDY#trial.

    Raises:
        UsageError: no such study or trial.
    """
    name, _, number = text.partition("#")
    opened = open_study(root, name)
    trials = opened.store.trials()
    if not number.isdigit() or int(number) >= len(trials):
        raise UsageError(
            f"study {name!r} has no trial {number!r}",
            f"it has trials 0 to {len(trials) - 1}" if trials else "it has no trials yet",
        )
    return config_from_dials(trials[int(number)].dials)
