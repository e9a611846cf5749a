"""summary.json: everything that the page and the terminal say, computed once. Same record, same summary, byte for byte."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from halosearch.analysis.distribution import score_distribution
from halosearch.analysis.frontier import complete, frontier, hypervolume_history, knee
from halosearch.analysis.importance import importance
from halosearch.analysis.rough_step_times import costed, step_seconds
from halosearch.families.known import candidate_text, config_of_dials, count, nearest_member, search_of
from halosearch.record.evaluation import TRIAL
from halosearch.record.trials import Trial, anchor_of, reference_of
from halosearch.report.evidence import Evidence
from halosearch.report.finals import final_scores, front_certainty, mean_scores
from halosearch.report.headline import headline
from halosearch.report.networks import networks
from halosearch.report.redaction import redact_all
from halosearch.report.rediscovery import rediscovery
from halosearch.report.rivals import rivals
from halosearch.report.trial_rows import trial_rows
from halosearch.report.wording import BEST, answer_sentences

POINT = 0.01
"""A point of score, whatever its noise."""


def summarise(evidence: Evidence) -> dict[str, Any]:
    """The summary as plain JSON values."""
    rows = costed(evidence.trials)
    done = complete(rows)
    front = frontier(rows)
    agreement, noise = evidence.validation["agreement"], evidence.validation["noise"]
    finals = final_scores(evidence.trials, evidence.rows, noise)
    means, seeds = mean_scores(done, evidence.rows)
    sure = front_certainty(done, noise, means, seeds)
    known = dict(zip(done["trial"], zip(means, seeds, strict=True), strict=True)) if len(done) else {}
    trials = trial_rows(evidence.trials, _facts(evidence, finals, sure, known))
    summary: dict[str, Any] = redact_all(
        {
            "study": evidence.spec["name"],
            "spec": evidence.spec,
            "command": evidence.command,
            "pool_size": evidence.pool_size,
            "counts": _counts(rows),
            "front": [int(number) for number in front["trial"]] if len(front) else [],
            "decisions": _decisions(done, front, noise, finals),
            "hypervolume": _hypervolume(rows),
            "importance": importance(done, search_of(evidence.spec["family"]).space.dials(), evidence.spec["seed"]),
            "distribution": _distribution(rows, evidence.even),
            "agreement": agreement,
            "validation": evidence.validation,
            "forced": evidence.forced,
            "finals": finals,
            "attainment": sure,
            "reference": _reference(evidence),
            "rivals": rivals(evidence.rows, noise, evidence.spec.get("rediscover")),
            "data": evidence.data,
            "published": evidence.published,
            "prediction": evidence.prediction,
            "failures": _failures(evidence.trials),
        }
    )
    summary["provenance"] = _provenance(evidence)  # versions look like addresses; nothing of a machine's own is in it
    summary["trials"] = trials
    summary["networks"] = networks(evidence, summary)
    summary["rediscovery"] = rediscovery(summary)
    summary["answer"] = answer_sentences(summary)
    summary["headline"] = headline(summary)
    return summary


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {str(state): int(n) for state, n in rows["state"].value_counts().sort_index().items()} if len(rows) else {}


def _hypervolume(rows: pd.DataFrame) -> list[list[float]]:
    """(trial, seconds of all trials up to it, hypervolume) of the complete trials."""
    if rows.empty:
        return []
    spent = dict(zip(rows["trial"], rows["seconds"].astype(float).fillna(0.0).cumsum(), strict=True))
    return [[number, round(float(spent[number]), 3), value] for number, value in hypervolume_history(rows)]


def _distribution(rows: pd.DataFrame, even: int) -> dict[str, Any] | None:
    """Scores of the trials drawn evenly, those without one counted as worst; trials still running are not yet drawn."""
    if rows.empty:
        return None
    drawn = rows[(rows["trial"] < even) & (rows["state"] != "running")]
    return score_distribution(complete(drawn)["score"].tolist(), len(drawn))


def _facts(
    evidence: Evidence,
    finals: list[dict[str, Any]],
    sure: dict[str, Any] | None,
    means: dict[int, tuple[float, int]],
) -> dict[int, dict[str, Any]]:
    """What is known of a trial beside its record, by number."""
    held_out = {final["trial"]: final["score"] for final in finals}
    anchor = (anchor_of(evidence.rows) or {}).get("seconds", {}).get("median")
    on_front = {} if sure is None else sure["on_front"]
    timed = {trial.number for trial in evidence.trials if "step_time_s" in trial.result}
    predicted = {n: value for n, value in step_seconds(evidence.trials).items() if n not in timed} if timed else {}
    if anchor:  # of those that were timed, as a fit that has not seen them says
        predicted |= {int(n): ratio * anchor for n, ratio in (evidence.prediction or {}).get("predicted", {}).items()}
    return {
        trial.number: {
            "predicted_step_time_s": predicted.get(trial.number),
            "drawn_evenly": trial.number < evidence.even,
            "p_front": on_front.get(str(trial.number)),
            "held_out_score": held_out.get(trial.number),
            "mean_score": means.get(trial.number, (None, None))[0],
            "seeds": means.get(trial.number, (None, None))[1],
        }
        for trial in evidence.trials
    }


def _decisions(
    done: pd.DataFrame, front: pd.DataFrame, noise: dict[str, Any] | None, finals: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The recommendation, which rests on held-out images; best search score; fastest and smallest within noise of it; knee."""
    if done.empty:
        return []
    best = done.sort_values(["score", "step_time_s", "trial"], ascending=[False, True, True]).iloc[0]
    chosen = [("recommended (held-out images)", int(finals[0]["trial"]))] if finals else []
    chosen.append((BEST, int(best["trial"])))
    close = done[done["score"] >= best["score"] - POINT]
    chosen.append(("fastest within 0.01 of it", int(close.sort_values(["step_time_s", "trial"])["trial"].iloc[0])))
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


def within_noise_margin(noise: float) -> float:
    """Two standard deviations of the difference of two single-seed scores."""
    return float(2 * 2**0.5 * noise)


def _reference(evidence: Evidence) -> dict[str, Any] | None:
    row = reference_of(evidence.rows)
    if row is None:
        return None
    search = search_of(evidence.spec["family"])
    dials = {name: row.candidate[name] for name in search.space.dials()}
    result, config = row.result, config_of_dials(dials)
    return {
        "dials": dials,
        "candidate": candidate_text(config),
        **asdict(count(config)),
        "memory_bytes": result.get("step_time", {}).get("memory_bytes"),
        "seconds": result.get("seconds"),
        "nearest_to": nearest_member(search, evidence.spec["budget"]["params"]),
        "state": row.state,
        "reason": row.reason,
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
    anchor = anchor_of(evidence.rows) or {}
    spec = evidence.spec
    lasted = [trial.result.get("seconds") for trial in evidence.trials]  # a rung's own contain those of the rungs below
    lasted += [row.result.get("seconds") for row in evidence.rows if row.kind != TRIAL]
    spent = [
        float(each) for each in lasted if isinstance(each, (int, float))
    ]  # of trainings; timings have a dict there
    return {
        "halosearch": spec["halosearch"],
        "space_hash": spec["space_hash"],
        "task": redact_all(evidence.data.get("description")),
        "task_hash": evidence.data.get("task_hash"),
        "seed": spec["seed"],
        "device": anchor.get("device", {}),
        "anchor": anchor,
        "seconds_by_state": _seconds(evidence.trials),
        "spent_seconds": round(sum(spent), 1),
        "evaluations": len(spent),
        "runs_beyond_first": sum(max(0, trial.runs - 1) for trial in evidence.trials),
    }


def _seconds(trials: list[Trial]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for trial in trials:
        seconds[trial.state] = round(seconds.get(trial.state, 0.0) + float(trial.result.get("seconds", 0.0)), 1)
    return seconds
