"""Many replays, side by side, and what they say about who is faster."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from halosearch import __version__
from halosearch.bench.contenders import CONTENDERS, OURS, OUT_OF_THE_BOX, run
from halosearch.bench.families import FAMILIES, member
from halosearch.bench.score import TARGET, Ruler, measure, median_interval, ratio_interval
from halosearch.bench.table import Table, read_table

MOMENTS = (10, 20, 40)
"""Regrets are taken after the seconds of so many middling full trainings, divided by the workers."""
MOST_CAPPED = 0.25
"""Where we ended more than this share of a search's replays for their asks, nothing is said of its speed."""
END = 100
"""After the seconds of so many, every replay ends."""


@dataclass(frozen=True, slots=True)
class Case:
    """One replay to run: a family's name or a table's folder, a contender, workers, a seed."""

    source: str
    contender: str
    workers: int
    seed: int


def table_for(source: str, seed: int) -> Table:
    """A member of a family, or the recorded table in a folder."""
    return member(source, seed) if source in FAMILIES else read_table(Path(source))


def run_case(case: Case) -> dict[str, Any]:
    """One replay, ended once 95 % of the hypervolume and the last moment are reached, or after the seconds of `END` trainings."""
    table = table_for(case.source, case.seed)
    ruler, middle = Ruler(table, case.seed), float(np.median(table.seconds.sum(1))) / case.workers
    moments = [middle * moment for moment in MOMENTS]
    rows: list[int] = []

    def until(seconds: float, row: int) -> bool:
        rows.append(row)
        return seconds >= END * middle or (seconds >= moments[-1] and ruler.share(rows) >= TARGET)

    replay = run(case.contender, table, case.seed, case.workers, until)
    return measure(replay, table, case.seed, moments).to_dict()


def run_all(cases: Sequence[Case], raw: Path, processes: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """All replays, on so many processes; each is appended to `raw` (JSON lines) as it ends, and those found there are not run again.

    Returns whatever `raw` holds at the end, of earlier runs too; replays of another version or another table are left out.
    """
    raw.parent.mkdir(parents=True, exist_ok=True)
    stamp = {"halosearch": __version__, "optuna": version("optuna")}
    tables = {source: table_hash(source) for source in {case.source for case in cases}}
    known = {_key(r): r for r in _read(raw) if _is_current(r, stamp, tables)}
    left = [case for case in cases if _key(asdict(case)) not in known]
    context = multiprocessing.get_context("spawn")
    with raw.open("a", encoding="utf-8") as file, ProcessPoolExecutor(processes, mp_context=context) as pool:
        for number, (case, result) in enumerate(zip(left, pool.map(run_case, left), strict=True), 1):
            line = asdict(case) | stamp | {"table": tables[case.source]} | result
            known[_key(line)] = line
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            if number % 20 == 0 or number == len(left):
                tell(f"{number} of {len(left)} replays; last: {case.contender} on {case.source}")
    order = list(CONTENDERS)
    return sorted(known.values(), key=lambda r: (r["source"], r["workers"], order.index(r["contender"]), r["seed"]))


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return result["source"], result["contender"], result["workers"], result["seed"]


def table_hash(source: str) -> str:
    """Twelve hexadecimal digits that change with what a replay looks up."""
    table = table_for(source, 0)
    parts = (table.scores, table.seconds, table.costs())
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:12]


def _is_current(result: dict[str, Any], stamp: dict[str, str], tables: dict[str, str]) -> bool:
    """Whether a kept replay is of this version, of these tables, and of a search that still exists."""
    same = all(result.get(key) == value for key, value in stamp.items())
    return (
        same and result["contender"] in CONTENDERS and tables.get(result["source"], result["table"]) == result["table"]
    )


def _read(raw: Path) -> list[dict[str, Any]]:
    """Whole lines of an earlier run; a torn last one is cut off."""
    if not raw.exists():
        return []
    lines = raw.read_bytes().split(b"\n")
    if lines[-1]:
        with raw.open("rb+") as file:
            file.truncate(raw.stat().st_size - len(lines[-1]))
    return [json.loads(line) for line in lines[:-1]]


def cases_of(sources: Sequence[str], contenders: Sequence[str], workers: Sequence[int], seeds: int) -> list[Case]:
    """Every combination; the seed runs slowest, so that an interrupted run has whole seeds."""
    return [
        Case(source, contender, count, seed)
        for seed in range(seeds)
        for source in sources
        for count in workers
        for contender in contenders
    ]


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per source, workers and contender: medians with intervals, and ours against it in pairs of seeds."""
    rows = []
    for source, workers in sorted({(r["source"], r["workers"]) for r in results}):
        here = [r for r in results if (r["source"], r["workers"]) == (source, workers)]
        ours = {r["seed"]: _seconds(r) for r in here if r["contender"] == OURS}
        for contender in [name for name in CONTENDERS if any(r["contender"] == name for r in here)]:
            mine = [r for r in here if r["contender"] == contender]
            paired = [r for r in mine if r["seed"] in ours]
            capped = sum(r["capped"] and r["seconds_to_95"] is None for r in mine)
            ratio = (
                ratio_interval(
                    [ours[r["seed"]] for r in paired], [_seconds(r) for r in paired], [r["ended"] for r in paired]
                )
                if contender != OURS and paired and capped <= MOST_CAPPED * len(mine)
                else None
            )
            rows.append(
                {
                    "source": source,
                    "workers": workers,
                    "contender": contender,
                    "out_of_the_box": contender in OUT_OF_THE_BOX,
                    "seeds": len(mine),
                    "capped": capped,
                    "reached": sum(r["seconds_to_95"] is not None for r in mine),
                    "seconds": median_interval([_seconds(r) for r in mine]),
                    "trainings": median_interval(
                        [np.inf if r["trainings_to_95"] is None else r["trainings_to_95"] for r in mine]
                    ),
                    "regrets": [
                        median_interval([r["regrets"][i] for r in mine]) for i in range(len(mine[0]["regrets"]))
                    ],
                    "ours_is_faster_by": ratio,
                    "inside_budget": all(r["outside_budget"] == 0 for r in mine),
                    "duplicates": sum(r["duplicates"] for r in mine),
                    "sampler_seconds_per_ask": float(
                        np.median([r["sampler_seconds"] / max(1, r["asks"]) for r in mine])
                    ),
                    "asks_outside_budget": sum(r["outside_budget"] for r in mine)
                    / max(1, sum(r["asks"] for r in mine)),
                }
            )
    return rows


def _seconds(result: dict[str, Any]) -> float:
    return float("inf") if result["seconds_to_95"] is None else float(result["seconds_to_95"])


def best_out_of_the_box(rows: Sequence[dict[str, Any]], source: str, workers: int) -> dict[str, Any] | None:
    """Of the out-of-the-box contenders that were run long enough, the one with the least median seconds (then the most seeds there)."""
    here = [r for r in rows if r["source"] == source and r["workers"] == workers and r["out_of_the_box"]]
    own = [r for r in here if r["ours_is_faster_by"] is not None]
    return min(own, key=lambda r: (r["seconds"][0], -r["reached"], r["contender"]), default=None)
