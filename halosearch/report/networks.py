"""The networks of a study that its page draws: what is on the front or recommended, the best others, the rivals."""

from __future__ import annotations

from typing import Any

from halosearch.families.known import config_of_dials, parse_candidate
from halosearch.record.evaluation import COMPLETE
from halosearch.report.evidence import Evidence
from halosearch.report.network_rows import network_rows, rows_as_values

MOST_DRAWN = 24


def networks(evidence: Evidence, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Title, trial (None for a rival), notation and rows of each, the named trial first, then the rivals."""
    trials = {trial.number: trial for trial in evidence.trials}
    drawn = [
        {
            "title": f"trial {number}:",
            "trial": number,
            "candidate": next(row["candidate"] for row in summary["trials"] if row["trial"] == number),
            "timed": bool(trials[number].result.get("parts")),
            "rows": rows_as_values(
                network_rows(config_of_dials(trials[number].dials), trials[number].result.get("parts") or ())
            ),
        }
        for number in _numbers(summary)
    ]
    beside = [
        {
            "title": f"{rival['title']}:",
            "trial": None,
            "candidate": rival["candidate"],
            "timed": False,
            "rows": rows_as_values(network_rows(parse_candidate(rival["candidate"]))),
        }
        for rival in summary["rivals"]
    ]
    return [*drawn[:1], *beside, *drawn[1:]]


def _numbers(summary: dict[str, Any]) -> list[int]:
    """The trials that are drawn, most wanted first."""
    done = sorted((t for t in summary["trials"] if t["state"] == COMPLETE), key=lambda t: (-t["score"], t["trial"]))
    wanted = [final["trial"] for final in summary["finals"]] + [d["trial"] for d in summary["decisions"]]
    wanted += [t["trial"] for t in done if t["trial"] in summary["front"]] + [t["trial"] for t in done]
    return list(dict.fromkeys(wanted))[:MOST_DRAWN]
