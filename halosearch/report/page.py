"""A study's HTML page: one file that opens offline, makes no request and runs no text of the study's as code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from halosearch.families.published import published_models
from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.columns import COLUMNS
from halosearch.report.figures import figures
from halosearch.report.figures.front import draw_front, prepare_front, published_marks
from halosearch.report.figures.trials import CURVE_POINTS, prepare_curves
from halosearch.report.printed import printed
from halosearch.report.rediscovery import SCALING
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.trial_rows import csv_text, flat_table
from halosearch.report.wording import seconds_words, trial_of
from halosearch.report.worth import images_words

TABLE = (
    ("trial", "trial", "n"),
    ("state", "state", "word"),
    ("score", "score", "n"),
    ("held_out_score", "held-out", "n"),
    ("p_front", "P(front)", "n"),
    ("step_time_s", "step (s)", "n"),
    ("candidate", "candidate", "code"),
    ("predicted_step_time_s", "predicted (s)", "n"),
    ("params", "parameters", "n"),
    ("macs", "MACs", "n"),
    ("activations", "activations", "n"),
    ("memory_bytes", "memory (B)", "n"),
    ("images", "images", "n"),
    ("seconds", "seconds", "n"),
    ("runs", "runs", "n"),
    ("reason", "reason", "word"),
)
TABLE_COLUMNS = [{"name": name, "title": title, "kind": kind} for name, title, kind in TABLE]
MOST_PLAIN_ROWS = 100
"""Rows of the table that are there without JavaScript; the page's own table shows all."""
PART = "part_"
REFERENCE_COLUMNS = ("score", "step_time_s", "params", "macs", "activations", "memory_bytes", "seconds")


def write_report(folder: Path, summary: dict[str, Any]) -> Path:
    """Write summary.json, trials.csv and index.html, each whole; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / "summary.json", summary_json(summary))
    table = flat_table(summary)
    csv = csv_text(flat_table(summary, rivals=True))
    write_text(folder / "trials.csv", csv)
    path = folder / "index.html"
    write_text(path, _render(summary, table, csv))
    return path


def summary_json(summary: dict[str, Any]) -> str:
    """The summary as strict JSON with sorted keys: a line per key, and a line per trial (Python's indented writer takes seconds)."""

    def line(value: Any) -> str:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)

    parts = []
    for key in sorted(summary):
        value = summary[key]
        if key == "trials" and value:
            rows = ",\n  ".join(map(line, value))
            parts.append(f'"{key}": [\n  {rows}\n ]')
        else:
            parts.append(f'"{key}": {line(value)}')
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def render(summary: dict[str, Any]) -> str:
    """The page as text; the same summary gives the same text."""
    table = flat_table(summary)
    return _render(summary, table, csv_text(flat_table(summary, rivals=True)))


def _render(summary: dict[str, Any], table: pd.DataFrame, csv: str) -> str:
    front = draw_front(prepare_front(summary, table))
    return page(
        "page.html.j2",
        summary["study"],
        page_data(summary, table, csv) if summary["trials"] else None,
        summary=summary,
        decisions=[d | trial_of(summary, d["trial"]) for d in summary["decisions"]],
        columns=TABLE_COLUMNS,
        shown=_plain_rows(summary),
        static_front=base64_text(printed(front, "svg")),
        curve_points=CURVE_POINTS,
        scaling=SCALING,
        published=published_models(),
        facts=_facts(summary),
        parts=score_parts(table),
        labels=[name.removeprefix("accuracy_") for name in table.columns if name.startswith("accuracy_")],
        provenance=to_json(summary["provenance"]),
        study_yaml=study_yaml(summary),
    )


def page_data(summary: dict[str, Any], table: pd.DataFrame, csv: str) -> dict[str, Any]:
    """What the page's script works on: the table as CSV, curves, charts without the trials in them."""
    reference, curves = summary["reference"], prepare_curves(summary)
    return {
        "name": summary["study"],
        "csv": csv,
        "columns": [asdict(column) for column in COLUMNS if column.kind != "dial" or column.name in table],
        "table": TABLE_COLUMNS,
        "curves": [[c["trial"], [value for point in c["points"] for value in point]] for c in curves],
        "figures": {
            name: _without_trials(figure) for name, figure in figures(summary, table, curves, trials=False).items()
        },
        "config": CONFIG,
        "band": [] if summary["attainment"] is None else summary["attainment"]["band"],
        "reference": reference and {name: reference.get(name) for name in REFERENCE_COLUMNS},
        "marks": {cost: published_marks(cost, table[cost].tolist()) for cost in ("params", "macs")},
    }


def _without_trials(figure: Any) -> dict[str, Any]:
    """A chart as JSON; traces that the page draws from its table keep a place in the legend only."""
    plain: dict[str, Any] = figure.to_plotly_json()
    for trace in plain["data"]:
        if "meta" in trace:
            trace["x"], trace["y"] = [None], [None]
            trace.pop("text", None)
    return plain


def _plain_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    front = set(summary["front"])

    def rank(trial: dict[str, Any]) -> tuple[bool, float, int]:
        score = trial["score"]
        return trial["trial"] not in front, -score if score is not None else float("inf"), trial["trial"]

    return sorted(summary["trials"], key=rank)[:MOST_PLAIN_ROWS]


def score_parts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What the scores of complete trials are made of: mean of each part, and the best trial's; nothing where a score has no parts."""
    done = table[(table["state"] == "complete") & table["score"].notna()] if len(table) else table
    names = [name for name in table.columns if name.startswith(PART)] if len(done) else []
    if not names:
        return []
    best = done.sort_values("score", ascending=False).iloc[0]
    return [
        {"name": name.removeprefix(PART).replace("_", " "), "mean": float(done[name].mean()), "best": float(best[name])}
        for name in names
    ]


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the numbers come from, for people; the whole of it is in the details below."""
    provenance, spec = summary["provenance"], summary["spec"]
    preset, device = spec["preset"], provenance["device"]
    spent = ", ".join(f"{state} {seconds_words(seconds)}" for state, seconds in provenance["seconds_by_state"].items())
    return [
        ("version", f"halosearch {provenance['halosearch']}, record format {spec['format']}"),
        ("space", f"{provenance['space_hash']}, {summary['pool_size']:,} candidates in the pool"),
        ("data", f"{provenance['task']}, {provenance['task_hash'] or 'no hash'}"),
        (
            "proxy",
            f"preset {preset['name']}: twin at {preset['width_multiplier']:g} of the width, {images_words(preset)}",
        ),
        ("seed", f"{provenance['seed']} for proposals, weights and data order; repeats have further seeds"),
        ("sameness", "the same machine and software repeat every score to the bit; another processor rounds otherwise"),
        ("device", ", ".join(f"{key} {value}" for key, value in device.items()) or "not measured yet"),
        (
            "timing",
            f"training step of {preset['timing_batch']} images, {preset['timing_rounds']} rounds beside the anchor, medians",
        ),
        ("seconds by state", spent or "none"),
        ("runs beyond the first", str(provenance["runs_beyond_first"])),
        ("trials left out of the front", _left_out(summary)),
    ]


def _left_out(summary: dict[str, Any]) -> str:
    others = [f"{n} {state}" for state, n in summary["counts"].items() if state != "complete"]
    return ", ".join(others) or "none"


def study_yaml(summary: dict[str, Any]) -> str:
    """A study file that asks the same question again under another name."""
    spec = summary["spec"]
    kept = (
        "budget",
        "seed",
        "sampler",
        "rivals",
        "trials",
        "retests",
        "max_in_flight",
        "device",
        "data",
        "preset",
        "space",
    )
    values = {"name": f"{spec['name']}-again"} | {key: spec[key] for key in kept}
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=150, allow_unicode=True)
