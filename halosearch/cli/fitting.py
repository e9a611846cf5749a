"""The `fit` command: a scaling law of ladders, experiments or a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from halosearch.cli.options import Json, Root
from halosearch.cli.output import put, put_json
from halosearch.errors import UsageError
from halosearch.spec.quantities import parse_count


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The options of `fit`."""

    sources: Annotated[
        list[str],
        typer.Argument(help="Ladders or experiments that were run, or CSV files (params, images, loss, run)."),
    ]
    params: Annotated[
        str | None, typer.Option(help="Forecast at so many parameters, for example 64M (default: twice the largest).")
    ] = None
    images: Annotated[str | None, typer.Option(help="Forecast at so many images (default: twice the longest).")] = None
    cooled: Annotated[
        bool, typer.Option("--cooled", help="Several rows of one run in a CSV file had a cooldown each.")
    ] = False
    huber: Annotated[
        float | None, typer.Option(min=1e-9, help="Delta of Huber's loss in ln L (default: from the residuals).")
    ] = None
    output: Annotated[Path | None, typer.Option(help="Folder of the page (default: reports/law-SOURCE).")] = None
    json: Json = ""
    root: Root = Path()


def fit_law_of(options: FitOptions) -> None:
    """The `fit` command."""
    params = None if options.params is None else parse_count(options.params, "--params")
    images = None if options.images is None else parse_count(options.images, "--images")
    from halosearch.report.law_page import write_law
    from halosearch.report.law_summary import law_summary
    from halosearch.run.losses import read_losses

    read = read_losses(options.sources, options.root, cooled=options.cooled)
    summary = law_summary(read.losses, read.sources, cooled=read.cooled, target=(params, images), delta=options.huber)
    folder = options.output or options.root / "reports" / f"law-{Path(read.sources[0]).stem}"
    if folder.exists() and not (folder / "law.json").exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is no law's page", "choose another folder with --output")
    page = write_law(folder, summary)
    if options.json:
        put_json({**summary, "report": str(page)})
        return
    for sentence in summary["answer"]:
        put(sentence)
    put(f"report: {page}")
