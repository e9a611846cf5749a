"""summary.json: everything that the page and the terminal say, computed once. Same record, same summary, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from halosearch.analysis.attainment import attainment
from halosearch.analysis.frontier import complete, frontier, hypervolume_history, knee
from halosearch.records.store import Trial, row, table
from halosearch.report.wording import answer_sentences
from halosearch.space.notation import candidate_text
from halosearch.space.search_space import DIALS, config_from_dials


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a summary is made of: the study's spec, its trials, its notes, facts about cell, data, proxy and published models."""

    spec: dict[str, Any]
    trials: list[Trial]
    notes: dict[str, Any]
    cell_size: int
    data: dict[str, Any]
    published: list[str]
    certificate: dict[str, Any]
    prediction: dict[str, Any] | None = None


def summarise(evidence: Evidence) -> dict[str, Any]:
    """The summary as plain JSON values."""
    rows = table(evidence.trials)
    done = complete(rows)
    front = frontier(rows)
    agreement, noise = evidence.certificate["agreement"], evidence.certificate["noise"]
    finals = final_scores(evidence.trials, evidence.notes, noise)
    summary: dict[str, Any] = {
        "study": evidence.spec["name"],
        "spec": evidence.spec,
        "cell_size": evidence.cell_size,
        "counts": {state: int(n) for state, n in rows["state"].value_counts().sort_index().items()}
        if len(rows)
        else {},
        "trials": [_trial(trial) for trial in evidence.trials],
        "front": [int(number) for number in front["trial"]] if len(front) else [],
        "decisions": _decisions(done, front, noise, finals),
        "hypervolume": [list(point) for point in hypervolume_history(rows)],
        "agreement": agreement,
        "certificate": evidence.certificate,
        "forced": evidence.notes.get("forced"),
        "finals": finals,
        "attainment": _attainment(done, noise, evidence),
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


def _decisions(
    done: pd.DataFrame, front: pd.DataFrame, noise: dict[str, Any] | None, finals: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The recommendation, which rests on held-out images; best search score; fastest and smallest within noise of it; knee."""
    if done.empty:
        return []
    best = done.sort_values(["score", "step_time_s", "trial"], ascending=[False, True, True]).iloc[0]
    chosen = [("recommended (held-out images)", int(finals[0]["trial"]))] if finals else []
    chosen.append(("best score", int(best["trial"])))
    if noise is not None:
        near = done[done["score"] >= best["score"] - within_noise_margin(noise["sd"])]
        chosen.append(("fastest within noise of it", int(near.sort_values(["step_time_s", "trial"])["trial"].iloc[0])))
        chosen.append(
            ("fewest parameters within noise of it", int(near.sort_values(["params", "trial"])["trial"].iloc[0]))
        )
    bend = knee(front)
    if bend is not None:
        chosen.append(("knee of the front", bend))
    return [{"role": role, "trial": number} for role, number in chosen]


def _repeats(notes: dict[str, Any], first: str) -> list[dict[str, Any]]:
    """Results of all completed repeats of a job, by the key of the first."""
    keys = sorted(key for key in notes if key == first or key.startswith(f"{first}-"))
    return [notes[key]["result"] for key in keys if notes[key]["state"] == "complete"]


def final_scores(trials: list[Trial], notes: dict[str, Any], noise: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The finalists, best first: mean score over further seeds on images that the search never saw, 95 % interval where noise is known."""
    found = []
    for trial in trials:
        done = _repeats(notes, f"final-{trial.number}")
        if done:
            scores = [float(result["score"]) for result in done]
            mean = sum(scores) / len(scores)
            half = None if noise is None else 1.96 * noise["sd"] / len(scores) ** 0.5
            found.append(
                {
                    "trial": trial.number,
                    "seeds": len(scores),
                    "images": done[0]["final"]["images"],
                    "scores": scores,
                    "score": mean,
                    "low": None if half is None else mean - half,
                    "high": None if half is None else mean + half,
                    "search_score": trial.result["score"],
                }
            )
    return sorted(found, key=lambda final: (-final["score"], final["trial"]))


def _attainment(done: pd.DataFrame, noise: dict[str, Any] | None, evidence: Evidence) -> dict[str, Any] | None:
    """P(on the front) by trial and the band of the front, from the known noise of a score; None without it."""
    if noise is None or done.empty:
        return None
    repeats = {
        number: [float(result["score"]) for result in _repeats(evidence.notes, f"retest-{number}")]
        for number in done["trial"]
    }
    means = [
        (score + sum(repeats[number])) / (1 + len(repeats[number]))
        for number, score in zip(done["trial"], done["score"], strict=True)
    ]
    seeds = [1 + len(repeats[number]) for number in done["trial"]]
    found = attainment(means, done["step_time_s"].tolist(), seeds, noise["sd"]).to_dict()
    return {
        "draws": found["draws"],
        "on_front": {str(number): p for number, p in zip(done["trial"], found["on_front"], strict=True)},
        "band": found["band"],
    }


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
