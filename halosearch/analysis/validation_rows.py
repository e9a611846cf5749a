"""What the rows of a study say of its proxy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from halosearch.analysis.proxy_validation import FAILED, validate
from halosearch.families.known import FAMILIES
from halosearch.families.search_space import Search
from halosearch.record.evaluation import COMPLETE, RATE, RETEST, TRIAL, Evaluation
from halosearch.record.trials import Trial, repeats, trials_of


def validation_of(rows: Sequence[Evaluation], uniform: int) -> dict[str, Any]:
    """The validation of a proxy by the first `uniform` trials, which were drawn evenly, and by their repeats."""
    even = [trial for trial in trials_of(rows) if trial.number < uniform and trial.state == COMPLETE]
    scores = {t.number: [float(s["score"]) for s in t.result["scores"]] for t in even}
    features: dict[str, dict[int, float]] = {
        name: {t.number: float(t.costs[name]) for t in even} for name in ("params", "macs", "activations")
    }
    depth = next(
        (each.search.corners[0] for each in FAMILIES.values() if each.search and _has(even, each.search)), None
    )
    if depth is not None:
        features["depth"] = {t.number: float(t.dials[depth]) for t in even}
    for t in even:
        for name, value in t.result.get("zero_cost", {}).items():
            features.setdefault(name, {})[t.number] = float(value)
    rates = {}
    for t in even:
        tried = {row.rate: float(row.result["score"]) for row in repeats(rows, RATE, t.number)}
        if tried:
            rates[t.number] = tried | {1.0: scores[t.number][-1]}
    second = {n: [row for row in repeats(rows, RETEST, n) if row.repeat == 1] for n in scores}
    again = {n: [float(s["score"]) for s in found[0].result.get("scores", ())] for n, found in second.items() if found}
    found = {n: retested(rows, n) for n in scores}
    return validate(scores, found, features, rates, again, described_by_dials(even))


def _has(trials: Sequence[Trial], search: Search) -> bool:
    return all(search.corners[0] in trial.dials for trial in trials)


def described_by_dials(trials: Sequence[Trial]) -> dict[int, list[float]]:
    """Dials and costs of trials as the numbers that a linear fit of scores takes: logarithms, and 0 or 1 for each further word."""
    words = {
        name: sorted({trial.dials[name] for trial in trials})[1:]
        for name, value in (trials[0].dials if trials else {}).items()
        if isinstance(value, str)
    }
    return {
        trial.number: [math.log1p(float(value)) for name, value in trial.dials.items() if name not in words]
        + [float(trial.dials[name] == word) for name, others in words.items() for word in others]
        + [math.log(float(trial.costs[name])) for name in ("macs", "activations")]
        for trial in trials
    }


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
