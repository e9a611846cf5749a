"""All studies under a folder as a static site: an index of question, answer, trust, cost and date, and every study's page beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from halosearch.files import write_text
from halosearch.report.headline import TRUST
from halosearch.report.numbers import amount, duration
from halosearch.report.reading import open_study, rewrite_report
from halosearch.report.redaction import redacted
from halosearch.report.rediscovery_page import FOLDER, STUDIES, write_rediscovery
from halosearch.report.shell import page
from halosearch.report.tops import rediscovery_top, top_of

INDEX = "index.html"


def write_site(root: Path, message: Callable[[str], None] = lambda _: None) -> tuple[list[dict[str, Any]], Path]:
    """Write the page of every study under root/studies and reports/index.html; returns the index's rows and its path.

    `message` is told of each study; one that cannot be read is a row that says why.

    Raises:
        OSError: the folder cannot be written.
    """
    rows = []
    for file in sorted((root / "studies").glob("*/study.yaml")):
        message(f"writing the page of {file.parent.name}")
        rows.append(_row(root, file.parent.name))
    if any((root / "studies").glob(STUDIES)):
        summary, _ = write_rediscovery(root)
        top = rediscovery_top(summary)
        rows.append(_entry(FOLDER, top["title"], top["sentence"]) | {"link": f"{FOLDER}/{INDEX}"})
    rows.sort(key=lambda row: (row["date"] or "", row["name"]), reverse=True)
    path = root / "reports" / INDEX
    write_text(path, page("site.html.j2", "studies", None, rows=rows))
    return rows, path


def _row(root: Path, name: str) -> dict[str, Any]:
    try:
        opened = open_study(root, name, experiments=True)
        summary, written = rewrite_report(opened)
    except Exception as error:  # noqa: BLE001  # one damaged study takes no other from the site
        return _entry(name, "", f"It cannot be read: {redacted(str(error))} ({type(error).__name__}).")
    top = top_of(summary)
    found = _entry(name, top["title"], top["sentence"])
    last = opened.table.last_change()
    provenance = summary.get("provenance", {})
    seconds = provenance.get("spent_seconds", provenance.get("seconds"))
    return found | {
        "trust": _trust(summary),
        "cost": "" if seconds is None else duration(seconds),
        "date": None if last is None else f"{last:%Y-%m-%d}",
        "link": written.relative_to(root / "reports").as_posix(),
        "running": opened.running,
    }


def _entry(name: str, title: str, sentence: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "sentence": sentence,
        "trust": "",
        "cost": "",
        "date": None,
        "link": None,
        "running": False,
    }


def _trust(summary: dict[str, Any]) -> str:
    """How far the answer can be trusted, in a few words."""
    if "validation" in summary:
        agreement = summary["agreement"]
        word = TRUST.get(summary["validation"]["verdict"], summary["validation"]["verdict"])
        return word if agreement is None else f"{word} (τ {agreement['tau']:.2f}, n = {agreement['n']})"
    if "coefficients" in summary:
        return f"{summary['rows']} losses, to {amount(summary['sizes'][-1])} parameters"
    done = summary["trainings"]
    if not done["planned"]:
        return "timed in the same rounds"
    return f"{summary['spec']['experiment']['seeds']} seeds, {done['done']} of {done['planned']} trainings"
