"""Where a study lives, and how one is found again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from halosearch.errors import UsageError
from halosearch.spec.study import FILE


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a study lives."""

    study: Path
    report: Path

    @property
    def journal(self) -> Path:
        """The Optuna storage."""
        return self.study / "trials.journal"

    @property
    def cache(self) -> Path:
        """Decoded images."""
        return self.study / "cache"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of unfinished trainings."""
        return self.study / "checkpoints"

    @property
    def logs(self) -> Path:
        """What workers print, a file per evaluation."""
        return self.study / "logs"

    @property
    def spent(self) -> Path:
        """GPU-seconds of all runs."""
        return self.study / "spent.json"


def folders_of(root: Path, name: str) -> Folders:
    """studies/<name> and reports/<name> under `root`."""
    return Folders(root / "studies" / name, root / "reports" / name)


def budget_name(params: int) -> str:
    """A study's default name, from its budget: 20000000 gives 20M."""
    for unit, letter in ((10**6, "M"), (10**3, "K")):
        if params >= unit:
            return f"{params / unit:g}{letter}".replace("+", "")
    return str(params)


def find_study(root: Path, study: str) -> Folders:
    """The folders of an existing study, by name or by the path of its folder.

    Raises:
        UsageError: there is no such study.
    """
    direct = Path(study).resolve()
    if (direct / FILE).exists():
        beside = (root if root != Path() else direct.parent.parent) / "reports" / direct.name
        if root != Path():
            return Folders(direct, beside)
        return Folders(direct, beside if direct.parent.name == "studies" else direct / "report")
    folders = folders_of(root, study)
    if not (folders.study / FILE).exists():
        parent = root / "studies"
        known = sorted(path.parent.name for path in parent.glob(f"*/{FILE}")) if parent.is_dir() else []
        raise UsageError(
            f"there is no study {study!r} here",
            f"studies here: {', '.join(known)}" if known else "begin one with: halosearch study --budget-params 20M",
        )
    return folders


def called(folders: Folders) -> str:
    """What names a study on a command line from here: its folder's name, elsewhere its path; with --dir where that is needed."""
    study = folders.study
    if study.parent.name == "studies":
        root = study.parent.parent
        where = "" if root.resolve() == Path.cwd() else f" --dir {shlex.quote(str(root))}"
        return shlex.quote(study.name) + where
    apart = folders.report != study / "report"  # its page goes where --dir said
    return shlex.quote(str(study)) + (f" --dir {shlex.quote(str(folders.report.parent.parent))}" if apart else "")
