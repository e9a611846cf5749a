"""summary.json: everything that the page and the terminal say, computed once. Same record, same summary, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from halosearch.analysis.frontier import complete, frontier, hypervolume_history, knee
from halosearch.analysis.rank_agreement import Agreement, test_retest
from halosearch.records.store import Trial, row, table
from halosearch.report.wording import answer_sentences
from halosearch.space.notation import candidate_text
from halosearch.space.search_space import DIALS, config_from_dials


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a summary is made of: the study's spec, its trials, its notes, facts about cell, data and published models."""

    spec: dict[str, Any]
    trials: list[Trial]
    notes: dict[str, Any]
    cell_size: int
    data: dict[str, Any]
    published: list[str]
    prediction: dict[str, Any] | None = None


def summarise(evidence: Evidence) -> dict[str, Any]:
    """The summary as plain JSON values."""
    rows = table(evidence.trials)
    done = complete(rows)
    front = frontier(rows)
    agreement = _agreement(evidence)
    summary: dict[str, Any] = {
        "study": evidence.spec["name"],
        "spec": evidence.spec,
        "cell_size": evidence.cell_size,
        "counts": {state: int(n) for state, n in rows["state"].value_counts().sort_index().items()}
        if len(rows)
        else {},
        "trials": [_trial(trial) for trial in evidence.trials],
        "front": [int(number) for number in front["trial"]] if len(front) else [],
        "decisions": _decisions(done, front, agreement),
        "hypervolume": [list(point) for point in hypervolume_history(rows)],
        "agreement": None if agreement is None else agreement.to_dict() | {"valid": agreement.valid},
        "reference": _reference(evidence),
        "data": evidence.data,
        "published": evidence.published,
        "prediction": evidence.prediction,
        "provenance": _provenance(evidence),
        "failures": _failures(evidence.trials),
    }
    summary["answer"] = answer_sentences(summary)
    return summary


def _trial(trial: Trial) -> dict[str, Any]:
    flat = {key: None if isinstance(value, float) and value != value else value for key, value in row(trial).items()}
    text = candidate_text(config_from_dials(trial.dials))
    return flat | {
        "candidate": text,
        "accuracy": trial.result.get("final", {}).get("accuracy", {}),
        "curve": trial.result.get("curve", []),
    }


def _agreement(evidence: Evidence) -> Agreement | None:
    pairs = []
    for trial in evidence.trials:
        again = evidence.notes.get(f"retest-{trial.number}", {})
        if trial.state == "complete" and again.get("state") == "complete":
            pairs.append((float(trial.result["score"]), float(again["result"]["score"])))
    return test_retest([a for a, _ in pairs], [b for _, b in pairs])


def _decisions(done: pd.DataFrame, front: pd.DataFrame, agreement: Agreement | None) -> list[dict[str, Any]]:
    """Best score; then, among what two standard deviations of a difference do not separate from it, fastest and smallest; knee."""
    if done.empty:
        return []
    best = done.sort_values(["score", "step_time_s", "trial"], ascending=[False, True, True]).iloc[0]
    chosen = [("best score", int(best["trial"]))]
    if agreement is not None:
        margin = within_noise_margin(agreement.noise)
        near = done[done["score"] >= best["score"] - margin]
        chosen.append(("fastest within noise of it", int(near.sort_values(["step_time_s", "trial"])["trial"].iloc[0])))
        chosen.append(
            ("fewest parameters within noise of it", int(near.sort_values(["params", "trial"])["trial"].iloc[0]))
        )
    bend = knee(front)
    if bend is not None:
        chosen.append(("knee of the front", bend))
    return [{"role": role, "trial": number} for role, number in chosen]


def within_noise_margin(noise: float) -> float:
    """Two standard deviations of the difference of two single-seed scores."""
    return float(2 * 2**0.5 * noise)


def _reference(evidence: Evidence) -> dict[str, Any] | None:
    note = evidence.notes.get("reference")
    if not note:
        return None
    dials = {name: note["dials"][name] for name in DIALS}
    result = note["result"]
    return {
        "dials": dials,
        "candidate": candidate_text(config_from_dials(dials)),
        "nearest_to": note["nearest_to"],
        "state": note["state"],
        "reason": note.get("reason", ""),
        "score": result.get("score"),
        "step_time_s": result.get("step_time_s"),
        "accuracy": result.get("final", {}).get("accuracy", {}),
        "chance": result.get("final", {}).get("chance", {}),
        "joint_accuracy": result.get("final", {}).get("joint_accuracy"),
    }


def _failures(trials: list[Trial]) -> list[dict[str, Any]]:
    reasons: dict[tuple[str, str], list[int]] = {}
    for trial in trials:
        if trial.state not in ("complete", "running"):
            reasons.setdefault((trial.state, trial.reason), []).append(trial.number)
    return [
        {"state": state, "reason": reason, "trials": numbers} for (state, reason), numbers in sorted(reasons.items())
    ]


def _provenance(evidence: Evidence) -> dict[str, Any]:
    device: dict[str, Any] = evidence.notes.get("clock", {}).get("device", {})
    spec = evidence.spec
    return {
        "halosearch": spec["halosearch"],
        "space_hash": spec["space_hash"],
        "task": evidence.data.get("description"),
        "task_hash": evidence.data.get("task_hash"),
        "seed": spec["seed"],
        "device": device,
        "anchor": evidence.notes.get("clock", {}),
        "seconds_by_state": _seconds(evidence.trials),
        "runs_beyond_first": sum(max(0, trial.runs - 1) for trial in evidence.trials),
    }


def _seconds(trials: list[Trial]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for trial in trials:
        seconds[trial.state] = round(seconds.get(trial.state, 0.0) + float(trial.result.get("seconds", 0.0)), 1)
    return seconds
