"""How a command that trained or fitted ends: the answer, how far to trust it, what it cost, where the page is; at most eight lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halosearch.cli.output import put

MOST = 7
"""Lines on stdout; the next command, on stderr, is the eighth."""


def say_answer(summary: Mapping[str, Any], page: Path, *, verbose: bool) -> None:
    """The answer in few lines, or with `verbose` every sentence of it; then the page."""
    for line in summary["answer"] if verbose else brief(summary):
        put(line)
    put(f"report: {page}")


def brief(summary: Mapping[str, Any]) -> list[str]:
    """The first screen of the summary's page as lines, `MOST` with the page's own."""
    from halosearch.report.tops import top_of

    if "headline" in summary:
        return _study(summary)
    top = top_of(summary)
    if "coefficients" in summary or "dials" in summary:
        return [top["sentence"], *_cards(top["cards"])][: MOST - 1]
    said = summary["answer"][1 : 1 + len(summary["expectations"])]
    warnings = (
        summary["answer"][2 + len(summary["expectations"]) :] if said else []
    )  # changed after results, evaluations that failed
    room = MOST - 3 - len(warnings)
    more = [f"and {len(said) - room + 1} more: the page, or --verbose"] if len(said) > room else []
    return [top["sentence"], *said[: room - len(more)], *more, *warnings, *_cards(top["cards"][-1:])]


def _study(summary: Mapping[str, Any]) -> list[str]:
    from halosearch.report.sections import named_trial

    headline, number = summary["headline"], named_trial(dict(summary))
    trial = next((trial for trial in summary["trials"] if trial["trial"] == number), None)
    network = [] if trial is None else [f"trial {number}: {trial['candidate']}, {trial['params']:,} parameters"]
    return [headline["sentence"], *network, *_cards(headline["cards"])][: MOST - 1]


def _cards(cards: list[dict[str, str]]) -> list[str]:
    return [f"{card['label']}: {card['value']}" + (f" ({card['note']})" if card["note"] else "") for card in cards]
