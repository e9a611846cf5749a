"""The `halosearch` command: its parser. Every command imports its rooms when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from halosearch import __version__
from halosearch.cli.benching import BenchOptions, run_bench
from halosearch.cli.ending import run_app
from halosearch.cli.experimenting import ExperimentOptions, run_experiment
from halosearch.cli.fitting import FitOptions, fit_law_of
from halosearch.cli.laddering import LadderOptions, run_ladder
from halosearch.cli.modelling import ExportModelOptions, ModelOptions, export_model_of, train_model_of
from halosearch.cli.options import Candidate, Json, Root, Study
from halosearch.cli.output import open_closed_streams
from halosearch.cli.rediscovering import RediscoverOptions, rediscover_members
from halosearch.cli.reporting import ReportOptions, export_table, write_pages
from halosearch.cli.running import StudyCommand, StudyOptions, run_or_forecast
from halosearch.cli.signature import from_fields, with_study_fields
from halosearch.cli.spaces import SpaceOptions, show_space
from halosearch.cli.timings import TimeOptions, time_candidates
from halosearch.cli.training import TrainOptions, train_candidate

app = typer.Typer(
    name="halosearch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Scale HaloNet by measurement, for your own budget, GPU and images. Begin with: halosearch study --budget-params 20M",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"halosearch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Scale HaloNet by measurement."""
    del version, debug


@app.command()
def show(
    candidate: Candidate,
    json: Json = "",
    figure: Annotated[Path | None, typer.Option(help="Also draw its stages into this SVG file.")] = None,
    root: Root = Path(),
) -> None:
    """Show a candidate's dials, stages and published facts."""
    from halosearch.cli.candidates import show_candidate

    show_candidate(candidate, root, as_json=bool(json), figure=figure)


@app.command()
def cost(
    candidate: Candidate,
    json: Json = "",
    by_layer: Annotated[bool, typer.Option(help="A row per layer.")] = False,
    audit: Annotated[
        bool, typer.Option(help="Set fvcore's count of the built network beside the closed form.")
    ] = False,
    classes: Annotated[int, typer.Option(min=1, help="Outputs of the classifier.")] = 1000,
    root: Root = Path(),
) -> None:
    """Count a candidate's parameters, MACs and activations exactly."""
    from halosearch.cli.candidates import cost_candidate

    cost_candidate(candidate, root, as_json=bool(json), by_layer=by_layer, audited=audit, classes=classes)


@app.command(name="time")
@from_fields(TimeOptions)
def time_(options: TimeOptions) -> None:
    """Measure forward and training step of candidates on this device."""
    time_candidates(options)


@app.command()
@from_fields(TrainOptions)
def train(options: TrainOptions) -> None:
    """Train a candidate's narrow twin for a short while and score it."""
    train_candidate(options)


@app.command(name="train-model")
@from_fields(ModelOptions)
def train_model(options: ModelOptions) -> None:
    """Train a candidate in full on your own pictures; the same line goes on with it."""
    train_model_of(options)


@app.command(name="export-model")
@from_fields(ExportModelOptions)
def export_model(options: ExportModelOptions) -> None:
    """Write a trained model for others: safetensors with a card, torch.export, ONNX."""
    export_model_of(options)


@app.command()
@from_fields(SpaceOptions)
def space(options: SpaceOptions) -> None:
    """Say what is feasible under a budget: how many candidates, the range of every dial."""
    show_space(options)


@app.command()
@from_fields(ExperimentOptions)
def experiment(options: ExperimentOptions) -> None:
    """Run an experiment from its file: arms, seeds, and expectations written before; say which of them held."""
    run_experiment(options)


@app.command()
@from_fields(LadderOptions)
def ladder(options: LadderOptions) -> None:
    """Train shapes at several budgets and lengths, fit their law, check what it forecasts of a larger budget."""
    run_ladder(options)


@app.command()
@from_fields(RediscoverOptions)
def rediscover(options: RediscoverOptions) -> None:
    """Ask whether published members are found again: their budget and cost, searched without being told of them."""
    rediscover_members(options)


@app.command()
@from_fields(FitOptions)
def fit(options: FitOptions) -> None:
    """Fit the scaling law of loss over parameters and images, with intervals and a forecast."""
    fit_law_of(options)


@app.command()
@with_study_fields(StudyOptions, StudyCommand)
def study(command: StudyCommand) -> None:
    """Create or continue a study: budget, trials, frontier, report. The same line again continues it."""
    run_or_forecast(command)


@app.command()
def status(
    study: Study,
    json: Json = "",
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking until nobody runs it; Ctrl-C leaves.")] = False,
    root: Root = Path(),
) -> None:
    """Say how far a study is, whoever runs it."""
    if watch:
        from halosearch.cli.watching import watch_study

        watch_study(study, root, json_lines=bool(json))
        return
    from halosearch.cli.studies import show_status

    show_status(study, root, as_json=bool(json))


@app.command()
def frontier(study: Study, json: Json = "", root: Root = Path()) -> None:
    """List the undominated candidates of a study, fastest first."""
    from halosearch.cli.studies import show_frontier

    show_frontier(study, root, as_json=bool(json))


@app.command()
def predict(
    study: Study,
    candidates: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CANDIDATE...]", help="Candidates (default: the study's whole candidate pool)."),
    ] = None,
    json: Json = "",
    output: Annotated[Path | None, typer.Option(help="CSV file for every row of the pool with its prediction.")] = None,
    root: Root = Path(),
) -> None:
    """Predict training-step times that a study has not measured, with intervals."""
    from halosearch.cli.predicting import predict_step_times

    predict_step_times(study, candidates or [], root, as_json=bool(json), output=output)


@app.command()
@from_fields(ReportOptions)
def report(options: ReportOptions) -> None:
    """Write a study's HTML page anew from its record, compare two studies, or write a site of all of them."""
    write_pages(options)


@app.command()
def export(
    study: Study,
    format_: Annotated[str, typer.Option("--format", help="csv, json or parquet (this needs pyarrow).")] = "csv",
    output: Annotated[Path | None, typer.Option(help="File to write (default: stdout; parquet needs a file).")] = None,
    root: Root = Path(),
) -> None:
    """Write the full table of a study's trials."""
    export_table(study, root, format_, output)


@app.command()
@from_fields(BenchOptions)
def bench(options: BenchOptions) -> None:
    """Replay a recorded table through samplers: is the search better, and by how much?"""
    run_bench(options)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; never a traceback without --debug."""
    open_closed_streams()
    run_app(app, sys.argv[1:] if arguments is None else arguments)
