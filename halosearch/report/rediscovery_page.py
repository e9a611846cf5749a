"""Are H0-H7 found again? One page over all members that were asked for here: every statement, its limit, its numbers, its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halosearch.analysis.expectations import parse_expectation
from halosearch.analysis.rediscovery import Cell, scales_alike, trends_appear
from halosearch.analysis.verdicts import judge
from halosearch.errors import HalosearchError
from halosearch.families.known import member_title, numeric_dials, parse_candidate
from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.experiment_summary import measurements
from halosearch.report.reading import open_study, summary_of
from halosearch.report.redaction import redacted
from halosearch.report.rediscovery import LATER, rediscovery
from halosearch.report.shell import page
from halosearch.report.tops import rediscovery_top

FOLDER = "rediscovery"
STUDIES = "rediscover-*"
TRENDS = ("paper-image-size", "paper-window", "paper-hybrids")
"""Experiments on what the paper's section on scaling says: larger images, larger windows, convolutions in early stages."""
WORTH = (
    "Every statement is of the proxy that the study used (a short training of a narrow twin), of its images and of this machine, not of ImageNet. "
    "A failed or undecided statement stands here as it is."
)


def rediscovery_summary(root: Path) -> dict[str, Any]:
    """Statements by member, then R4 and R5 over all. What cannot be read is named in `left_out`."""
    members: list[dict[str, Any]] = []
    cells: list[Cell] = []
    left_out: list[str] = []
    for path in sorted((root / "studies").glob(STUDIES)):
        try:
            summary = summary_of(open_study(root, path.name))
        except HalosearchError as error:
            left_out.append(f"{path.name}: {redacted(str(error))}")
            continue
        if not summary["spec"].get("rediscover"):
            continue
        members.append(_member(path.name, summary))
        cells += _cell(summary)
    trends = {name: judged for name in TRENDS if (judged := _trend(root, name))}
    later = {entry["id"]: entry for entry in LATER}
    scaling, slopes = scales_alike(sorted(cells, key=lambda cell: cell.params))
    appear = trends_appear(trends)
    over_all = [
        {**later["R4"], "verdict": scaling.verdict, "why": scaling.why},
        {**later["R5"], "verdict": appear.verdict, "why": appear.why},
    ]
    found: dict[str, Any] = {
        "members": members,
        "over_all": over_all,
        "slopes": slopes,
        "trends": {name: [list(each) for each in judged] for name, judged in trends.items()},
        "left_out": left_out,
    }
    return found | {"answer": _answer(found)}


def _member(name: str, summary: dict[str, Any]) -> dict[str, Any]:
    done = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    best = max(done, key=lambda trial: trial["score"], default=None)
    return {
        "study": name,
        "member": member_title(summary["spec"]["rediscover"]),
        "candidate": next((rival["candidate"] for rival in summary["rivals"]), None),
        "best": None if best is None else best["candidate"],
        "statements": rediscovery(summary)[:4],
        "trials": len(done),
        "preset": summary["spec"]["preset"]["name"],
        "images": summary["spec"]["preset"]["rungs"][-1],
        "data": summary["spec"]["data"],
    }


def _cell(summary: dict[str, Any]) -> list[Cell]:
    """The member's cell for R4; none before anything was searched, or without the noise of a score."""
    done = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    noise, rival = summary["validation"]["noise"], next(iter(summary["rivals"]), None)
    if noise is None or rival is None or all(trial["drawn_evenly"] for trial in done):
        return []
    config = parse_candidate(rival["candidate"])
    candidates = [(numeric_dials(parse_candidate(trial["candidate"])), float(trial["score"])) for trial in done]
    params = int(summary["spec"]["budget"]["params"])
    return [Cell(summary["spec"]["rediscover"], params, numeric_dials(config), candidates, float(noise["sd"]))]


def _trend(root: Path, name: str) -> list[tuple[str, str]]:
    """(expectation, verdict) of an experiment that was run here; none where it was not."""
    try:
        opened = open_study(root, name, experiments=True)
    except HalosearchError:
        return []
    experiment = opened.spec.experiment
    if experiment is None:
        return []
    names = [arm.name for arm in experiment.arms]
    found = judge([parse_expectation(text, names) for text in experiment.expect], measurements(experiment, opened.rows))
    return [(each.expectation.text, each.verdict) for each in found]


def _answer(found: dict[str, Any]) -> list[str]:
    words = []
    for member in found["members"]:
        said = ", ".join(f"{each['id']} {each['verdict']}" for each in member["statements"])
        words.append(f"{member['member']}: {said} ({member['trials']} candidates, {member['images']:,} images each).")
    words += [f"{each['id']}, {each['statement']}: {each['verdict']}." for each in found["over_all"]]
    return [*words, WORTH]


def write_rediscovery(root: Path) -> tuple[dict[str, Any], Path]:
    """Write reports/rediscovery (rediscovery.json, index.html); returns the summary and the page.

    Raises:
        OSError: the folder cannot be written.
    """
    summary, folder = rediscovery_summary(root), root / "reports" / FOLDER
    write_text(folder / "rediscovery.json", to_json(summary) + "\n")
    path = folder / "index.html"
    write_text(path, page("rediscovery.html.j2", "rediscovery", None, summary=summary, top=rediscovery_top(summary)))
    return summary, path
