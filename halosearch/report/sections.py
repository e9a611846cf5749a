"""What the page shows beyond its first screen: choices, what was asked and learned, a line that says what each folded section holds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from halosearch.report.headline import TRUST, ties, trial_of
from halosearch.report.numbers import amount, duration
from halosearch.report.rediscovery import NOT_TESTED

PART, ACCURACY = "part_", "accuracy_"
MEMBER = ("R0", "R1", "R2", "R3")
"""Statements about one published network, which a study that asks for it lists even before it can say anything."""
LEARNED = 0.1
"""Share explained from which a thing counts as learned in a section's line."""


def choices(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials that somebody may want, one row each with all that speaks for it, in the order of the summary's decisions."""
    roles: dict[int, list[str]] = {}
    for decision in summary["decisions"]:
        roles.setdefault(decision["trial"], []).append(decision["role"])
    for number in ties(summary):
        roles.setdefault(number, []).append("cannot be told from the recommended one")
    finals = {final["trial"]: final for final in summary["finals"]}
    return [
        {
            **trial_of(summary, number),
            "roles": said,
            "final": finals.get(number),
            "on_front": number in summary["front"],
        }
        for number, said in roles.items()
    ]


def asked(summary: dict[str, Any], table: pd.DataFrame) -> list[dict[str, Any]]:
    """What a score is made of: of each thing that is asked, what the named trial, the rival and the average explain; none without parts."""
    done = table[(table["state"] == "complete") & table["score"].notna()] if len(table) else table
    names = [name for name in table.columns if name.startswith(PART)] if len(done) else []
    if not names:
        return []
    best = done[done["trial"] == named_trial(summary)].iloc[0]
    beside: dict[str, float] = next((rival["parts"] for rival in summary["rivals"] if rival["parts"]), {})
    return [
        {
            "name": (name := column.removeprefix(PART).replace("_", " ")),
            "mean": float(done[column].mean()),
            "best": float(best[column]),
            "rival": beside.get(name),
        }
        for column in names
    ]


def accuracies(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Accuracy of the named trial's copy by label, beside what guessing gives; none where it has no labels or none was trained."""
    number = named_trial(summary)
    if number is None:
        return []
    classes = dict(summary["data"].get("factors", ()))
    known = trial_of(summary, number)["accuracy"]
    chance = (summary["reference"] or {}).get("chance", {})
    return [
        {"name": name, "accuracy": value, "chance": chance.get(name, 1 / classes[name] if name in classes else None)}
        for name, value in known.items()
    ]


def named_trial(summary: dict[str, Any]) -> int | None:
    """The trial that the first screen is about."""
    if summary["finals"]:
        return int(summary["finals"][0]["trial"])
    found = next((d["trial"] for d in summary["decisions"]), None)
    return None if found is None else int(found)


def tested(summary: dict[str, Any]) -> list[dict[str, str]]:
    """The statements of rediscovery that this study says something of."""
    asked = summary["spec"].get("rediscover")
    return [
        entry for entry in summary["rediscovery"] if entry["verdict"] != NOT_TESTED or (asked and entry["id"] in MEMBER)
    ]


def lines(summary: dict[str, Any], parts: list[dict[str, Any]], pictures: int) -> dict[str, str]:
    """By section, what it holds in one line."""
    return {
        "choose": _choose_line(summary),
        "networks": f"{len(summary['networks'])} drawn: maps, windows, and where parameters, MACs and time go",
        "asked": _asked_line(summary, parts, pictures),
        "trust": f"{TRUST.get(summary['validation']['verdict'], summary['validation']['verdict'])}: {summary['validation']['reason']}",
        "trials": ", ".join(f"{n:,} {state}" for state, n in summary["counts"].items()) or "none yet",
        "dials": _dials_line(summary),
        "course": f"{duration(summary['provenance']['spent_seconds'])} of one worker; learning curves, growth of the front",
        "published": _published_line(summary),
        "sources": f"halosearch {summary['provenance']['halosearch']}, seed {summary['provenance']['seed']}; the command that repeats it",
        "words": "every term of this page in a sentence",
    }


def _choose_line(summary: dict[str, Any]) -> str:
    equal = ties(summary)
    named = named_trial(summary)
    if named is None:
        return "nothing to choose from yet"
    if equal:
        return f"trial {named}, or {', '.join(map(str, equal))}, which {'ties' if len(equal) == 1 else 'tie'} with it"
    return f"trial {named}" + ("" if summary["finals"] else ", best so far")


def _asked_line(summary: dict[str, Any], parts: list[dict[str, Any]], pictures: int) -> str:
    where = "generated scenes" if pictures else summary["data"]["description"]
    if not parts:
        return where
    known = [part["name"] for part in parts if part["best"] >= LEARNED]
    return f"{where}; learned so far: {', '.join(known) or 'nothing'} ({len(known)} of {len(parts)})"


def _dials_line(summary: dict[str, Any]) -> str:
    found = summary["importance"]
    if found is None:
        return "scores along each dial; importance needs 20 complete trials"
    beyond = [dial["dial"].replace("_", " ") for dial in found["dials"] if dial["share"] > dial["chance"]]
    return f"beyond chance: {', '.join(beyond) or 'none'} (n = {found['trials']:,})"


def _published_line(summary: dict[str, Any]) -> str:
    budget = amount(summary["spec"]["budget"]["params"])
    return f"accuracies that others published, beside this budget of {budget}; another task, another scale"
