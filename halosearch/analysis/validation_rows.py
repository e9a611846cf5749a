"""What the rows of a study say of its proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halosearch.analysis.proxy_validation import FAILED, validate
from halosearch.record.evaluation import COMPLETE, RATE, RETEST, TRIAL, Evaluation
from halosearch.record.trials import repeats, trials_of


def validation_of(rows: Sequence[Evaluation], uniform: int) -> dict[str, Any]:
    """The validation of a proxy by the first `uniform` trials, which were drawn evenly, and by their repeats."""
    even = [trial for trial in trials_of(rows) if trial.number < uniform and trial.state == COMPLETE]
    scores = {t.number: [float(s["score"]) for s in t.result["scores"]] for t in even}
    features: dict[str, dict[int, float]] = {
        name: {t.number: float(t.costs[name]) for t in even} for name in ("params", "macs", "activations")
    }
    features["depth"] = {t.number: float(t.dials["stage3_depth"]) for t in even}
    for t in even:
        for name, value in t.result.get("zero_cost", {}).items():
            features.setdefault(name, {})[t.number] = float(value)
    rates = {}
    for t in even:
        tried = {row.rate: float(row.result["score"]) for row in repeats(rows, RATE, t.number)}
        if tried:
            rates[t.number] = tried | {1.0: scores[t.number][-1]}
    return validate(scores, {n: retested(rows, n) for n in scores}, features, rates)


def retested(rows: Sequence[Evaluation], trial: int) -> list[float]:
    """Final scores of a trial's retests, by repeat; none where the first is missing."""
    found: list[float] = []
    for row in repeats(rows, RETEST, trial):
        if row.repeat != len(found) + 1:
            break
        found.append(float(row.result["score"]))
    return found


def forced(rows: Sequence[Evaluation], uniform: int) -> str | None:
    """Why the proxy was refused where candidates were searched nevertheless; None where they were not.

    The gate is asked again about what it saw: rows of later runs (more retests) change the validation, not this.
    """
    searched = next((place for place, row in enumerate(rows) if row.kind == TRIAL and row.trial >= uniform), None)
    if searched is None:
        return None
    found = validation_of(rows[:searched], uniform)
    return str(found["reason"]) if found["verdict"] == FAILED else None
