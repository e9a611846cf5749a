"""Two studies side by side: what differs in their inputs, their fronts, and whether the difference exceeds the noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from halosearch.analysis.comparison import Front, difference
from halosearch.analysis.frontier import frontier
from halosearch.analysis.kendall import kendall_tau
from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.figures.comparison import draw_fronts
from halosearch.report.numbers import seconds_words
from halosearch.report.printed import printed
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.tops import comparison_top
from halosearch.report.trial_rows import flat_table
from halosearch.report.worth import PROXY

NOT_INPUTS = (
    "name",
    "note",
    "workers",
    "max_time_s",
    "max_gpu_hours",
    "max_trial_time_s",
    "max_trial_memory",
    "storage",
)
MIN_SHARED = 5


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The comparison as plain JSON values; `first` and `second` are summaries."""
    cost, why = _common_cost(first, second)
    obstacles = _obstacles(first, second)
    found: dict[str, Any] = {
        "studies": [first["study"], second["study"]],
        "inputs": differing_inputs(first, second),
        "cost": cost,
        "cost_why": why,
        "obstacles": obstacles,
        "fronts": [_front_rows(summary, cost) for summary in (first, second)],
        "hypervolume": None if obstacles else _hypervolume(first, second, cost),
        "recommended": None if obstacles else _recommended(first, second),
        "shared": None if obstacles else _shared(first, second),
    }
    found["answer"] = _sentences(found, first, second)
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: inner
        for name, child in value.items()
        for key, inner in _flat(child, f"{prefix}.{name}" if prefix else name).items()
    }


def differing_inputs(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Fields of study file, data and device that differ, with both values."""
    sides = []
    for summary in (first, second):
        spec = {key: value for key, value in summary["spec"].items() if key not in NOT_INPUTS}
        more = {
            "pool size": summary["pool_size"],
            "data hash": summary["data"].get("fingerprint") or summary["data"].get("task_hash"),
            "device": summary["provenance"]["device"],
        }
        sides.append(_flat(spec) | _flat(more))
    keys = dict.fromkeys([*sides[0], *sides[1]])
    return [
        {"field": key, "first": sides[0].get(key), "second": sides[1].get(key)}
        for key in keys
        if sides[0].get(key) != sides[1].get(key)
    ]


def _obstacles(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Why scores of the two cannot be subtracted; empty where they can."""
    found = []
    if first["data"].get("task_hash") != second["data"].get("task_hash") or first["data"].get("task_hash") is None:
        found.append("they were scored on different data")
    presets = (first["spec"]["preset"], second["spec"]["preset"])
    different = [name for name in PROXY if presets[0][name] != presets[1][name]]
    if different:
        found.append(f"their proxies differ ({', '.join(name.replace('_', ' ') for name in different)})")
    for summary in (first, second):
        if not summary["front"]:
            found.append(f"{summary['study']} has no complete trial")
        elif summary["validation"]["noise"] is None:
            found.append(f"the noise of a score is not known in {summary['study']} (no candidate was trained twice)")
    return found


def _common_cost(first: dict[str, Any], second: dict[str, Any]) -> tuple[str, str]:
    """The axis that means the same in both."""
    devices = [summary["provenance"]["device"] for summary in (first, second)]
    timings = [(s["spec"]["preset"]["timing_batch"], s["spec"]["preset"]["timing_anchor"]) for s in (first, second)]
    if devices[0] and devices[0] == devices[1] and timings[0] == timings[1]:
        return "step_time_s", "both were timed on the same kind of device with the same software and batch"
    return "macs", "their step times are of different devices, software or batches, so MACs stand for cost"


def _complete(summary: dict[str, Any], cost: str) -> list[dict[str, Any]]:
    return [t for t in summary["trials"] if t["state"] == "complete" and t["score"] is not None and t[cost] is not None]


def _front_rows(summary: dict[str, Any], cost: str) -> list[dict[str, Any]]:
    """Undominated trials on the common cost, cheapest first."""
    front = frontier(flat_table(summary), cost)
    if front.empty:
        return []
    kept = front[["trial", "score", "candidate", "params", "macs"]].assign(cost=front[cost])
    return [{str(name): value for name, value in row.items()} for row in kept.to_dict("records")]


def _hypervolume(first: dict[str, Any], second: dict[str, Any], cost: str) -> dict[str, float]:
    fronts = []
    for summary in (first, second):
        rows = _complete(summary, cost)
        fronts.append(
            Front(
                [t["mean_score"] for t in rows],
                [t[cost] for t in rows],
                [t["seeds"] for t in rows],
                summary["validation"]["noise"]["sd"],
            )
        )
    return difference(*fronts)


def _recommended(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """Held-out score of one recommendation minus the other's, with the 95 % interval of the difference."""
    if not first["finals"] or not second["finals"]:
        return None
    ours, theirs = first["finals"][0], second["finals"][0]
    gap = ours["score"] - theirs["score"]
    half = math.hypot(ours["score"] - ours["low"], theirs["score"] - theirs["low"])
    return {"trials": [ours["trial"], theirs["trial"]], "difference": gap, "low": gap - half, "high": gap + half}


def _shared(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """Candidates that both trained to the end: how much their scores differ, and whether they rank alike."""
    theirs = {t["candidate"]: t["score"] for t in _complete(second, "macs")}
    pairs = [(t["score"], theirs[t["candidate"]]) for t in _complete(first, "macs") if t["candidate"] in theirs]
    if len(pairs) < MIN_SHARED:
        return None
    gaps = [a - b for a, b in pairs]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))
    tau = kendall_tau(*zip(*pairs, strict=True))
    return {
        "n": len(pairs),
        "mean": mean,
        "half_width": 1.96 * deviation / math.sqrt(len(pairs)),
        "kendall_tau": None if math.isnan(tau) else tau,
    }


def _sentences(found: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    names = [summary["study"] for summary in (first, second)]
    if found["obstacles"]:
        said = [f"The scores of {names[0]} and {names[1]} cannot be compared: {'; '.join(found['obstacles'])}."]
    else:
        said = [_front_sentence(found["hypervolume"], names, found["cost"])]
        if found["recommended"] is not None:
            said.append(_recommended_sentence(found["recommended"], names))
        if found["shared"] is not None:
            shared = found["shared"]
            tau = (
                "" if shared["kendall_tau"] is None else f", and rank with a Kendall tau of {shared['kendall_tau']:.2f}"
            )
            said.append(
                f"{shared['n']} candidates were trained to the end in both: their scores differ by {shared['mean']:+.3f} "
                f"± {shared['half_width']:.3f} on average{tau}."
            )
        if first["spec"]["seed"] != second["spec"]["seed"] and "synthetic" in first["data"]["description"]:
            said.append(
                "The two seeds also drew different images for training and test, which the noise of a score (same images, another "
                "seed of the weights) does not hold: true intervals are somewhat wider."
            )
    said.append(
        f"Cost here is {'the measured step' if found['cost'] == 'step_time_s' else 'MACs'}: {found['cost_why']}."
    )
    fields = [entry["field"] for entry in found["inputs"]]
    said.append(f"Their inputs differ in {', '.join(fields)}." if fields else "Their inputs are the same.")
    counts = [len(summary["trials"]) for summary in (first, second)]
    said.append(f"They recorded {counts[0]:,} and {counts[1]:,} trials.")
    return said


def _front_sentence(gap: dict[str, float], names: list[str], cost: str) -> str:
    interval = f"{gap['median']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    against = "ln step time" if cost == "step_time_s" else "ln MACs"
    base = f"hypervolume of {names[0]} minus that of {names[1]} (score x {against}): {interval}, {gap['draws']:.0f} draws of the true scores"
    if gap["low"] <= 0 <= gap["high"]:
        return f"The two fronts cannot be told apart: {base}."
    better = names[0] if gap["median"] > 0 else names[1]
    return f"The front of {better} is better, beyond the noise of the scores: {base}."


def _recommended_sentence(found: dict[str, Any], names: list[str]) -> str:
    interval = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    trials = f"trial {found['trials'][0]} of {names[0]} and trial {found['trials'][1]} of {names[1]}"
    if found["low"] <= 0 <= found["high"]:
        return f"On held-out images the recommended candidates, {trials}, cannot be told apart: {interval}."
    return f"On held-out images the recommended candidates, {trials}, differ beyond the noise: {interval}."


def write_comparison(folder: Path, found: dict[str, Any]) -> Path:
    """Write comparison.json and index.html; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / "comparison.json", to_json(found) + "\n")
    path = folder / "index.html"
    write_text(path, render(found))
    return path


def render(found: dict[str, Any]) -> str:
    """The page as text; the same comparison gives the same text."""
    figure = draw_fronts(found)
    title = " against ".join(found["studies"])
    return page(
        "comparison.html.j2",
        title,
        {"figures": {"fronts": figure.to_plotly_json()}, "config": CONFIG},
        found=found,
        top=comparison_top(found),
        static_front=base64_text(printed(figure, "svg", on_page=True)),
        cost_words=seconds_words if found["cost"] == "step_time_s" else "{:,.0f}".format,
    )
