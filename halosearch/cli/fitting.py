"""The `fit` command: a scaling law of ladders, experiments or a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from halosearch.cli.last_words import say_answer
from halosearch.cli.options import Json, Root, Verbose
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
    dial: Annotated[
        str | None,
        typer.Option(
            help="Instead: how the best value of this column moves with compute (a CSV of it, compute, loss)."
        ),
    ] = None
    output: Annotated[Path | None, typer.Option(help="Folder of the page (default: reports/law-SOURCE).")] = None
    json: Json = ""
    verbose: Verbose = False
    root: Root = Path()


def fit_law_of(options: FitOptions) -> None:
    """The `fit` command."""
    if options.dial is not None:
        _fit_dial(options, options.dial)
        return
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
    say_answer(summary, page, verbose=options.verbose)


def _fit_dial(options: FitOptions, dial: str) -> None:
    """How the best value of a dial moves with compute, by one table."""
    from halosearch.analysis.shape_law import fit_shape
    from halosearch.run.losses import read_shape_losses

    if len(options.sources) != 1 or not Path(options.sources[0]).is_file():
        raise UsageError("--dial reads one CSV file", "a star that was run here: halosearch report NAME")
    given = {
        "--params": options.params,
        "--images": options.images,
        "--huber": options.huber,
        "--output": options.output,
    }
    flag = next((flag for flag, value in given.items() if value is not None), None)
    if flag is not None:
        raise UsageError(f"{flag} is of the law of size, and --dial of one dial", "leave one of them out")
    law = fit_shape(data := read_shape_losses(Path(options.sources[0]), dial))
    most = float(data.compute_R.max())
    low, high = ("open" if end is None else f"{end:.3f}" for end in (law.low, law.high))
    if options.json:
        ends = {"low": law.low, "high": law.high}
        put_json(
            {"dial": dial, "slope": law.slope, **ends, "compute": most, "best": law.best(most) if law.decided else None}
        )
        return
    put(
        f"{len(data.loss_R)} losses: the best value of {dial} grows as compute^{law.slope:.3f} [{low}, {high}] (95 %, by profile)."
    )
    if law.decided:
        put(f"At the largest compute, {most:.4g}, it is {law.best(most):.3g}.")
    else:
        put("The data does not hold that exponent from both sides: it is not to be quoted alone.")
