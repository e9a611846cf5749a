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
from halosearch.report.columns import BY_NAME, COLUMNS
from halosearch.report.examples import examples
from halosearch.report.figures import figures
from halosearch.report.figures.front import draw_front, half_noise, prepare_front, published_marks
from halosearch.report.figures.network import draw_network
from halosearch.report.figures.trials import CURVE_POINTS, prepare_curves
from halosearch.report.numbers import seconds_words
from halosearch.report.printed import printed
from halosearch.report.rediscovery import SCALING
from halosearch.report.sections import ACCURACY, accuracies, asked, choices, lines, named_trial, tested
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.trial_rows import csv_text, flat_table
from halosearch.report.wording import answer_groups
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


TITLES = {
    "choose": "Which to take",
    "networks": "What the networks look like",
    "asked": "What they were asked",
    "trust": "How far to trust it",
    "dials": "Which dials matter",
    "course": "How the search went",
    "trials": "All trials",
    "published": "Published networks",
    "sources": "Where the numbers come from",
    "words": "Words",
}
"""Headings of the sections below the first screen; the navigation has the same words."""
OF_TRIALS = ("networks", "dials", "course", "trials")
"""Sections of a study that has trials."""


def _render(summary: dict[str, Any], table: pd.DataFrame, csv: str) -> str:
    prepared = prepare_front(summary, table)
    front = draw_front(prepared)
    parts, pictures = asked(summary, table), examples(summary["spec"])
    there = [id for id in TITLES if id not in OF_TRIALS or summary["trials"]]
    return page(
        "page.html.j2",
        summary["study"],
        page_data(summary, table, csv) if summary["trials"] else None,
        summary=summary,
        headline=summary["headline"],
        groups=answer_groups(summary),
        choices=choices(summary),
        titles=TITLES,
        navigation=[(id, TITLES[id]) for id in there if id != "networks" or summary["networks"]],
        lines=lines(summary, parts, len(pictures)),
        networks=_drawings(summary),
        pictures=pictures,
        accuracies=accuracies(summary),
        named=named_trial(summary),
        named_candidate=next((t["candidate"] for t in summary["trials"] if t["trial"] == named_trial(summary)), ""),
        tested=tested(summary),
        taus=_taus(summary),
        columns=_shown_columns(table),
        shown=_plain_rows(summary),
        front_words=f"Score against {BY_NAME[prepared['cost']].title}: {len(prepared['front'])} trials on the front",
        static_front=base64_text(printed(front, "svg", on_page=True)),
        curve_points=CURVE_POINTS,
        scaling=SCALING,
        published=published_models(),
        facts=_facts(summary),
        parts=parts,
        labels=[name.removeprefix(ACCURACY) for name in table.columns if name.startswith(ACCURACY)],
        provenance=to_json(summary["provenance"]),
        study_yaml=study_yaml(summary),
    )


def _drawings(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The drawn networks: the named trial's and the rivals' are shown, the others when their trial is pinned."""
    first = named_trial(summary)
    return [
        each | {"first": each["trial"] == first, "svg": draw_network(each["rows"], f"stages of {each['title']}")}
        for each in summary["networks"]
    ]


def _taus(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every agreement of a ranking with the scores that is known, in words."""
    found, rungs = summary["validation"], summary["spec"]["preset"]["rungs"]
    last = f"{rungs[-1]:,}"
    known: list[tuple[str, Any]] = [("the same training, another seed", summary["agreement"])]
    known += [(f"{images:,} images instead of {last}", tau) for images, tau in zip(rungs, found["rungs"], strict=False)]
    known.append(("a linear fit of dials and costs that has not seen the candidate (no training)", found.get("beyond")))
    known += [
        (f"{images:,} images instead of {last}, another seed", tau)
        for images, tau in zip(rungs, found.get("lengths", []), strict=False)
    ]
    known += [(f"{name.replace('_', ' ')} (no training)", tau) for name, tau in found["baselines"].items()]
    return [(name, tau) for name, tau in known if tau is not None]


def _shown_columns(table: pd.DataFrame) -> list[dict[str, str]]:
    """The columns of the table that say something of some trial."""
    return [column for column in TABLE_COLUMNS if column["name"] in table and _says(table[column["name"]])]


def _says(column: pd.Series[Any]) -> bool:
    return bool(column.notna().any()) and bool((column.astype(str) != "").any())


def page_data(summary: dict[str, Any], table: pd.DataFrame, csv: str) -> dict[str, Any]:
    """What the page's script works on: the table as CSV, curves, charts without the trials in them."""
    reference, curves = summary["reference"], prepare_curves(summary)
    return {
        "name": summary["study"],
        "csv": csv,
        "columns": [asdict(column) for column in COLUMNS if column.kind != "dial" or column.name in table],
        "table": _shown_columns(table),
        "curves": [[c["trial"], [value for point in c["points"] for value in point]] for c in curves],
        "figures": {
            name: _without_trials(figure) for name, figure in figures(summary, table, curves, trials=False).items()
        },
        "config": CONFIG,
        "band": [] if summary["attainment"] is None else summary["attainment"]["band"],
        "reference": reference and {name: reference.get(name) for name in REFERENCE_COLUMNS},
        "finals": [
            {"trial": final["trial"], "low": final["low"], "high": final["high"], "score": final["score"]}
            for final in summary["finals"]
        ],
        "halfNoise": half_noise(summary),
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
