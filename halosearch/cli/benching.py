"""The `bench` command: record a table, replay searches on it, write the comparison."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from halosearch.cli.options import Json, Root
from halosearch.cli.output import put, put_json, say
from halosearch.errors import UsageError


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of `bench`."""

    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TABLE...]",
            help="Folders of recorded tables, or 'saturating', 'rugged', 'categorical', 'noisy-categorical' (default: all of these).",
        ),
    ] = None
    json: Json = ""
    record: Annotated[
        str | None,
        typer.Option(help="Make a recorded table of this study instead (sampler random, all trials retested)."),
    ] = None
    contender: Annotated[list[str] | None, typer.Option(help="Only these searches, by name; repeatable.")] = None
    seeds: Annotated[int, typer.Option(min=2, help="Replays of each search.")] = 20
    workers: Annotated[str, typer.Option(help="Simulated workers, for example 1,8.")] = "1,8"
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that replay (default: 1).")] = None
    output: Annotated[
        Path | None, typer.Option(help="Folder for replays.jsonl and page.md, or for the table (default: bench).")
    ] = None
    root: Root = Path()


def run_bench(flags: BenchOptions) -> None:
    """The `bench` command."""
    if flags.record is not None:
        _record(flags)
        return
    counts = _counts(flags.workers)
    from halosearch.bench.compare import cases_of, run_all, summarise, table_for
    from halosearch.bench.contenders import CONTENDERS, available
    from halosearch.bench.families import FAMILIES
    from halosearch.bench.table import describe

    sources = flags.sources or list(FAMILIES)
    for name in flags.contender or []:
        if name not in CONTENDERS:
            raise UsageError(f"unknown contender {name!r}", f"contenders are: {'; '.join(CONTENDERS)}")
        if name not in available():
            raise UsageError(f"contender {name!r} needs BoTorch", "pip install 'halosearch[botorch]'")
    output = flags.output or Path("bench")
    cases = cases_of(sources, flags.contender or available(), counts, flags.seeds)
    say(f"{len(cases)} replays into {output / 'replays.jsonl'}; what is there already is not run again")
    for source in sources:
        table_for(source, 0)  # what cannot be read is said before anything runs
    rows = summarise(run_all(cases, output / "replays.jsonl", flags.processes or 1, say))
    facts = {source: describe(table_for(source, 0)) for source in sorted({str(row["source"]) for row in rows})}
    if flags.json:
        put_json({"rows": [_finite(row) for row in rows], "sources": facts})
        return
    _write_page(output, rows, facts)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UsageError(f"--workers {text!r} is no list of counts", "for example --workers 1,8")
    return counts


def _write_page(output: Path, rows: list[dict[str, object]], facts: dict[str, str]) -> None:
    from importlib.metadata import version

    from halosearch import __version__
    from halosearch.bench.page import page
    from halosearch.cost.devices import cpu_name
    from halosearch.files import write_text

    text = page(
        rows,
        {
            "command": shlex.join(["halosearch", *sys.argv[1:]]),
            "halosearch": __version__,
            "optuna": version("optuna"),
            "device": cpu_name(),
            "raw": "replays.jsonl",
            "sources": facts,
        },
    )
    write_text(output / "page.md", text)
    put(text)
    put(f"page: {output / 'page.md'}")


def _record(flags: BenchOptions) -> None:
    from halosearch.bench.recording import table_of
    from halosearch.bench.table import write_table
    from halosearch.report.reading import open_study

    assert flags.record is not None
    table = table_of(open_study(flags.root, flags.record))
    folder = flags.output or flags.root / "studies" / f"{table.name}-table"
    write_table(folder, table)
    put(
        f"{len(table.rows)} candidates, {table.scores.shape[1]} seeds, rungs {', '.join(map(str, table.rungs))}: {folder}"
    )


def _finite(value: object) -> object:
    """JSON has no infinity: what was not reached is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
