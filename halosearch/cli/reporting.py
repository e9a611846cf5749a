"""`halosearch report` and `halosearch export`: pages, figures for print, tables."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from halosearch.cli.options import Json, Root, study_names
from halosearch.cli.output import put, put_bytes, put_json, say
from halosearch.errors import UsageError

FORMATS = ("csv", "json", "parquet")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What `report` was asked for."""

    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="A study's name, or the path of its folder.", autocompletion=study_names
        ),
    ] = None
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[OTHER]", help="A second study, to compare the first with.", autocompletion=study_names
        ),
    ] = None
    json: Json = ""
    figures: Annotated[
        str | None, typer.Option(help="Also write every chart for print, with the CSV behind it: svg, pdf, or svg,pdf.")
    ] = None
    every: Annotated[
        bool, typer.Option("--all", help="Write the pages of all studies, and reports/index.html over them.")
    ] = False
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page at http://127.0.0.1 and follow the study while it runs.")
    ] = False
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0 takes a free one.")] = 8000
    root: Root = Path()


def write_pages(wanted: ReportOptions) -> None:
    """The `report` command: one study's page, the comparison of two, the site of all, or a page that follows a study.

    Raises:
        UsageError: none of these was asked for, or several were.
    """
    kinds, study, root, as_json = _kinds(wanted.figures), wanted.study, wanted.root, bool(wanted.json)
    if wanted.every:
        if study is not None or wanted.serve or kinds:
            raise UsageError("--all is for all studies and stands alone", "halosearch report --all")
        _write_site(root, as_json=as_json)
        return
    if study is None:
        raise UsageError("no study was named", "halosearch report STUDY, or halosearch report --all")
    if wanted.serve:
        if wanted.other is not None or kinds:
            raise UsageError("--serve shows one study's page", f"halosearch report {study} --serve")
        _serve(study, root, wanted.port)
        return
    if wanted.other is not None:
        _compare(study, wanted.other, root, as_json=as_json, kinds=kinds)
        return
    from halosearch.report.reading import open_study, rewrite_report

    opened = open_study(root, study, experiments=True)
    summary, page = rewrite_report(opened)
    if opened.spec.experiment is None:
        written = _print_figures(kinds, opened.folders.report, lambda: _charts(summary))
    else:
        from halosearch.report.experiment_page import experiment_figures
        from halosearch.report.law_page import law_figures

        charts = law_figures if "coefficients" in summary else experiment_figures
        written = _print_figures(kinds, opened.folders.report, lambda: charts(summary))
    if as_json:
        put_json({"report": str(page), "figures": written, "summary": summary})
        return
    put(str(page))
    for path in written:
        put(path)


def _write_site(root: Path, *, as_json: bool) -> None:
    from halosearch.report.site import write_site

    rows, page = write_site(root, say)
    if as_json:
        put_json({"report": str(page), "studies": rows})
        return
    put(str(page))


def _serve(study: str, root: Path, port: int) -> None:
    """Until somebody stops it."""
    from halosearch.report.reading import open_study
    from halosearch.report.serving import HOST, serving

    opened = open_study(root, study, experiments=True)
    with serving(opened, port) as server:
        put(f"http://{HOST}:{server.server_address[1]}/")
        sys.stdout.flush()
        say("it follows the study; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _kinds(figures: str | None) -> list[str]:
    """The formats asked for."""
    kinds = [] if figures is None else [kind.strip().lower() for kind in figures.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in ("svg", "pdf"):
            raise UsageError(f"--figures {kind} is unknown", "use --figures svg, pdf, or svg,pdf")
    return list(dict.fromkeys(kinds))


def _compare(study: str, other: str, root: Path, *, as_json: bool, kinds: list[str]) -> None:
    from halosearch.report.comparison import compare, write_comparison
    from halosearch.report.figures.comparison import draw_fronts
    from halosearch.report.reading import open_study, summary_of

    opened = [open_study(root, name) for name in (study, other)]
    if opened[0].folders.study.resolve() == opened[1].folders.study.resolve():
        raise UsageError(f"{study} would be compared with itself", f"its page: halosearch report {study}")
    names = [one.folders.study.name for one in opened]
    folder = opened[0].folders.report.parent / "-against-".join(names)
    if names[0] == names[1]:
        names = [f"{names[0]} ({which})" for which in ("first", "second")]
    found = compare(*(summary_of(one) | {"study": name} for one, name in zip(opened, names, strict=True)))
    if folder.exists() and not (folder / "comparison.json").exists():
        raise UsageError(f"{folder} exists and is no comparison", "move it away")
    page = write_comparison(folder, found)
    written = _print_figures(kinds, folder, lambda: {"fronts": draw_fronts(found)})
    if as_json:
        put_json({"report": str(page), "figures": written, "comparison": found})
        return
    for sentence in found["answer"]:
        put(sentence)
    put(f"report: {page}")


def _charts(summary: dict[str, Any]) -> dict[str, Any]:
    """All charts of a study; the front once for every cost that was recorded."""
    from halosearch.report.columns import COSTS
    from halosearch.report.figures import figures
    from halosearch.report.figures.front import draw_front, prepare_front
    from halosearch.report.figures.trials import prepare_curves
    from halosearch.report.trial_rows import flat_table

    table = flat_table(summary)
    drawn = figures(summary, table, prepare_curves(summary))
    for column in COSTS if len(table) else ():
        if column.name != "step_time_s" and table[column.name].notna().any():
            drawn[f"front-{column.name.removesuffix('_s').replace('_', '-')}"] = draw_front(
                prepare_front(summary, table, column.name)
            )
    return drawn


def _print_figures(kinds: list[str], folder: Path, charts: Any) -> list[str]:
    """Every chart in every format, with the numbers behind it; returns the files."""
    if not kinds:
        return []
    from halosearch.files import write_bytes, write_text
    from halosearch.report.figures import numbers_behind
    from halosearch.report.printed import printed

    written = []
    for name, figure in charts().items():
        for kind in kinds:
            path = folder / "figures" / f"{name}.{kind}"
            write_bytes(path, printed(figure, kind))
            written.append(str(path))
        path = folder / "figures" / f"{name}.csv"
        write_text(path, numbers_behind(figure).to_csv(index=False, lineterminator="\n"))
        written.append(str(path))
    return written


def export_table(study: str, root: Path, kind: str, output: Path | None) -> None:
    """The `export` command.

    Raises:
        UsageError: an unknown format, or parquet without a file or without pyarrow.
    """
    if kind not in FORMATS:
        raise UsageError(f"--format {kind} is unknown", f"use one of {', '.join(FORMATS)}")
    if kind == "parquet":
        _check_parquet(study, output)
    from halosearch.files import write_bytes
    from halosearch.report.reading import open_study, summary_of
    from halosearch.report.trial_rows import csv_text, flat_table, json_rows, parquet_bytes

    table = flat_table(summary_of(open_study(root, study)), rivals=True)
    writers = {"csv": lambda: csv_text(table).encode(), "json": lambda: json_rows(table).encode()}
    content = writers.get(kind, lambda: parquet_bytes(table))()
    if output is None:
        put_bytes(content)
        return
    write_bytes(output, content)
    put(str(output))


def _check_parquet(study: str, output: Path | None) -> None:
    if output is None:
        raise UsageError("parquet is no text", f"halosearch export {study} --format parquet --output {study}.parquet")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "parquet needs pyarrow, which is not installed", "pip install pyarrow, or --format csv"
        ) from None
