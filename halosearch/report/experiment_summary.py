"""What an experiment says: verdicts, arms, and what was expected when; computed once for page and terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from halosearch.analysis.expectations import SCORE, STEP_TIME, parse_expectation
from halosearch.analysis.verdicts import UNDECIDED, Verdict, detectable, judge
from halosearch.record.evaluation import ARM, COMPLETE, STEP_TIMES, Evaluation
from halosearch.record.folders import Folders
from halosearch.report.evidence import DATA_FILE, shown_spec
from halosearch.report.redaction import redact_all
from halosearch.search.experiment import trainings_of
from halosearch.spec.experiment import Experiment
from halosearch.spec.study import StudySpec

Measured = Mapping[str, Mapping[str, Mapping[object, float]]]


def experiment_summary(
    spec: StudySpec, folders: Folders, rows: Sequence[Evaluation], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The summary as plain JSON values."""
    experiment = spec.experiment
    assert experiment is not None
    measured = measurements(experiment, rows)
    names = [arm.name for arm in experiment.arms]
    verdicts = judge([parse_expectation(text, names) for text in experiment.expect], measured)
    file = folders.study / DATA_FILE
    data = json.loads(file.read_text()) if file.exists() else {"description": spec.data}
    ended = [row for row in rows if row.kind == ARM and row.runs and row.repeat <= experiment.seeds]
    untimed = [row for row in rows if row.kind == STEP_TIMES and row.runs and row.state != COMPLETE]
    summary: dict[str, Any] = redact_all(
        {
            "study": spec.name,
            "spec": shown_spec(spec),
            "question": experiment.question,
            "source": experiment.source,
            "published": experiment.published,
            "arms": [_arm(experiment, place, measured, ended) for place in range(len(names))],
            "expectations": [plain_verdict(verdict, len(verdicts)) for verdict in verdicts],
            "trainings": {"done": len(ended), "planned": len(names) * trainings_of(experiment)},
            "failures": [
                {"arm": names[r.trial], "seed": r.repeat, "reason": r.reason} for r in ended if r.state != COMPLETE
            ]
            + [{"arm": "step times", "seed": r.repeat, "reason": r.reason} for r in untimed],
            "changes": facts.get("experiment", {}).get("changes", []),
            "data": data,
        }
    )
    summary["hash"] = facts.get("experiment", {}).get("hash", experiment.hash())
    seconds = sum(float(row.result.get("seconds", 0.0)) for row in rows)
    summary["provenance"] = {
        "halosearch": spec.halosearch,
        "seed": spec.seed,
        "device": facts.get("device", {}),
        "seconds": round(seconds, 1),
    }
    summary["answer"] = answer(summary)
    return summary


def measurements(experiment: Experiment, rows: Sequence[Evaluation]) -> Measured:
    """Scores by arm and seed, seconds by arm and round of timing; arms in their order."""
    scores: dict[str, dict[object, float]] = {arm.name: {} for arm in experiment.arms}
    steps: dict[str, dict[object, float]] = {}
    for row in rows:
        if (
            row.kind == ARM
            and row.state == COMPLETE
            and row.trial < len(experiment.arms)
            and row.repeat <= experiment.seeds
        ):
            scores[experiment.arms[row.trial].name][row.repeat] = float(row.result["score"])
        if row.kind == STEP_TIMES and row.state == COMPLETE:
            for arm, timed in row.result["step_times"].items():
                kept = {(row.repeat, place): float(timed["samples_s"][place]) for place in timed["kept_rounds"]}
                steps.setdefault(arm, {}).update(kept)
    return {SCORE: scores, STEP_TIME: steps}


def _arm(experiment: Experiment, place: int, measured: Measured, ended: Sequence[Evaluation]) -> dict[str, Any]:
    arm = experiment.arms[place]
    scores, steps = list(measured[SCORE][arm.name].values()), list(measured[STEP_TIME].get(arm.name, {}).values())
    costs = next((row.costs for row in ended if row.trial == place), {})
    seconds = [float(row.result["seconds"]) for row in ended if row.trial == place and "seconds" in row.result]
    return {
        "name": arm.name,
        "candidate": arm.network,
        "recipe": dict(arm.recipe),
        "scores": scores,
        "score": float(np.mean(scores)) if scores else None,
        "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "step_time_s": float(np.median(steps)) if steps else None,
        "rounds": len(steps),
        "params": costs.get("params"),
        "macs": costs.get("macs"),
        "seconds": float(np.mean(seconds)) if seconds else None,
        "published": experiment.published.get(arm.name),
    }


def plain_verdict(verdict: Verdict, comparisons: int) -> dict[str, Any]:
    """One of so many verdicts as plain JSON values, in the direction of its text, with what could have been seen."""
    each = verdict.expectation
    values = {f.name: getattr(verdict, f.name) for f in fields(verdict) if f.name != "expectation"}
    values["differences"] = list(verdict.differences)
    bound = each.bound if each.metric == SCORE else math.exp(each.bound)
    if each.ratio is not None and each.weights[each.ratio[0]] < 0:  # as the text has it
        bound, ends = 1 / bound, [values[name] for name in ("high", "effect", "low")]
        values |= {
            n: None if end is None else 1 / end if end else math.inf
            for n, end in zip(("low", "effect", "high"), ends, strict=True)
        }
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    seen = {"detectable": detectable(verdict, comparisons)}
    return {"text": each.text, "metric": each.metric, "bound": bound, "margin": each.margin, **finite, **seen}


def answer(summary: Mapping[str, Any]) -> list[str]:
    """The question, a sentence for every expectation, and what the reader must know of them."""
    counts = summary["trainings"]
    preset = summary["spec"]["preset"]
    sentences = [summary["question"], *(sentence_of(each) for each in summary["expectations"])]
    seeds = summary["spec"]["experiment"]["seeds"]
    more = len(summary["expectations"])
    together = f"verdicts hold together for all {more} expectations" if more > 1 else "the verdict holds"
    judged = f"; differences are paired by seed; {together} with 95 %" if more else ""
    if counts["planned"]:
        sentences.append(
            f"Twins of {preset['width_multiplier']:g} of the width, {preset['rungs'][-1]:,} images of {summary['data']['description']}, "
            f"{seeds} seeds, {counts['done']} of {counts['planned']} trainings done; scores are of held-out images{judged}."
        )
    else:
        sentences.append(
            f"Training steps of {preset['timing_batch']} images, in the same rounds; {together} with 95 % for these processes."
        )
    if counts["done"] < counts["planned"] and summary["expectations"]:
        sentences.append(
            f"{counts['planned'] - counts['done']} trainings have not ended: these are not the experiment's verdicts yet, and who stops where they "
            "please is wrong more often than in 5 %."
        )
    if summary["changes"]:
        after = ", ".join(str(change["after_results"]) for change in summary["changes"])
        sentences.append(
            f"The experiment was changed after results were there (after {after} of them): its verdicts were not fixed before."
        )
    if summary["failures"]:
        sentences.append(
            f"{len(summary['failures'])} evaluations gave no result and are left out; the first: {summary['failures'][0]['reason']}."
        )
    return sentences


def sentence_of(each: Mapping[str, Any]) -> str:
    """One expectation, what became of it, the effect with its interval, and what could have been seen."""
    if each["effect"] is None:
        return f"{each['text']}: undecided; {each['n']} paired measurements, and three are needed."
    low = "0" if each["low"] is None else f"{each['low']:.3f}"
    high = "∞" if each["high"] is None else f"{each['high']:.3f}"
    if each["metric"] == STEP_TIME:
        return f"{each['text']}: {each['verdict']}; ratio {each['effect']:.3f} [{low}, {high}] against {each['bound']:.3g} ({each['n']} rounds)."
    against = "" if not each["bound"] and each["margin"] is None else f" against {each['bound']:.3g}"
    against += "" if each["margin"] is None else f" ± {each['margin']:.3g}"
    seen = ""
    if each["verdict"] == UNDECIDED and each["detectable"] is not None:
        what = "a difference" if each["margin"] is None else "a margin"
        seen = f"; {what} of {each['detectable']:.3f} would have been shown in four of five such experiments"
    return f"{each['text']}: {each['verdict']}; {each['effect']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}]{against} ({each['n']} seeds){seen}."
