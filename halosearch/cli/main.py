"""The `halosearch` command: its parser.

Only typer and the standard library are imported here, so that `--help` answers at once; every command imports its rooms.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from halosearch import __version__
from halosearch.cli.ending import run_app
from halosearch.cli.options import BudgetMacs, BudgetParams, Candidate, Json, Root, Study, Tolerance, study_names

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
def show(candidate: Candidate, json: Json = "", root: Root = Path()) -> None:
    """Show a candidate's dials, stages and published facts."""
    from halosearch.cli.candidates import show_candidate

    show_candidate(candidate, root, as_json=bool(json))


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
def time_(
    candidates: Annotated[
        list[str],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Candidates, measured in the same rounds; with timm installed also timm:NAME[@SIZE] and efficientnet-b0 to -b7.",
        ),
    ],
    json: Json = "",
    compare: Annotated[
        bool, typer.Option("--compare", help="Ratios to the first candidate with a verdict; writes the JSON file.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="File for all numbers and raw samples (with --compare: step-times.json).")
    ] = None,
    train: Annotated[
        bool | None, typer.Option("--train/--infer", help="Training step only, or forward only (default: both).")
    ] = None,
    batch_size: Annotated[
        str, typer.Option(help="Images per step, or 'best': each model's fastest batch within 85 % of the memory.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the median and its interval are over these.")] = 7,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: torch's own choice).")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--eager", help="Through torch.compile (default: on CUDA only).")
    ] = None,
    root: Root = Path(),
) -> None:
    """Measure forward and training step of candidates on this device."""
    from halosearch.cli.timings import TimeOptions, time_candidates

    options = TimeOptions(train, batch_size, rounds, device, threads, compiled, compare, output)
    time_candidates(candidates, root, options, as_json=bool(json))


@app.command()
def train(
    candidate: Candidate,
    json: Json = "",
    data: Annotated[str | None, typer.Option(help="Folder of images, CIFAR files, or built-in scenes.")] = None,
    preset: Annotated[str | None, typer.Option(help="Price class of the training (see study).")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images that the twin sees (default: the preset's).")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Train at this image size instead of the candidate's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    root: Root = Path(),
) -> None:
    """Train a candidate's narrow twin for a short while and score it."""
    from halosearch.cli.candidates import train_candidate

    train_candidate(
        candidate,
        root,
        as_json=bool(json),
        data=data,
        preset=preset,
        images=images,
        image_size=image_size,
        seed=seed,
        device=device,
    )


@app.command()
def space(
    study: Annotated[str | None, typer.Argument(help="A study (default: the default search space).")] = None,
    json: Json = "",
    budget_params: BudgetParams = None,
    budget_macs: BudgetMacs = None,
    tolerance: Tolerance = None,
    root: Root = Path(),
) -> None:
    """Say what is feasible under a budget: how many candidates, the range of every dial."""
    from halosearch.cli.studies import show_space

    show_space(study, root, as_json=bool(json), params=budget_params, macs=budget_macs, tolerance=tolerance)


@app.command()
def study(
    study: Annotated[
        str | None, typer.Argument(help="A study's name or a study.yaml (default: named by its budget).")
    ] = None,
    budget_params: BudgetParams = None,
    budget_macs: BudgetMacs = None,
    tolerance: Tolerance = None,
    data: Annotated[
        str | None, typer.Option(help="Folder of images, CIFAR files, or built-in scenes (default).")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop after this long, for example 2h; also chooses the preset of a new study.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(min=1, help="Trials in all (default: the preset's).")] = None,
    retests: Annotated[
        int | None, typer.Option(min=0, help="Trials to repeat with another seed (default: the preset's).")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="pool, tpe, nsga2, gp or random; all stay inside the budget (default: pool).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of proposals, weights and scenes (default: 0).")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Price class of a trial: cpu-2m, cpu-10m, cpu-1h, cpu-6h, gpu-1h, gpu-1d.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that train (default: one per core, or one per GPU).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Name of a new study.")] = None,
    lookahead: Annotated[
        int | None,
        typer.Option(
            min=1, help="Moves under way while the next is decided (default: 4; over 4 workers twice as many)."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Run trials on the Ray cluster at host:port (auto: the one of this machine); without an address start one here.",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local (default), ray, or ray-tune: the same study under Ray Tune.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="Share of a GPU that a trial holds on Ray (default: 1 on CUDA).")
    ] = None,
    max_gpu_hours: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many GPU-hours, all runs together.")
    ] = None,
    max_trial_time: Annotated[
        str | None, typer.Option(help="End a trial after this long (default: the preset's whole time, 10m at least).")
    ] = None,
    max_trial_memory: Annotated[
        str | None, typer.Option(help="End a trial that takes more main memory, for example 8GiB.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Keep trials in this database, for example postgresql://user@host/db.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Search even where the proxy was shown not to rank the candidates.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost; train and write nothing.")
    ] = False,
    json: Json = "",
    root: Root = Path(),
) -> None:
    """Create or continue a study: budget, trials, frontier, report. The same line again continues it."""
    from halosearch.cli.running import StudyFlags, run_or_forecast

    flags = StudyFlags(
        study,
        root,
        name,
        budget_params,
        budget_macs,
        tolerance,
        seed,
        sampler,
        data,
        device,
        preset,
        max_trials,
        retests,
        workers,
        max_time,
        force,
        lookahead,
        ray,
        engine,
        gpus_per_trial,
        max_gpu_hours,
        max_trial_time,
        max_trial_memory,
        storage,
    )
    run_or_forecast(flags, dry_run=dry_run, json=json)


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
        list[str] | None, typer.Argument(metavar="[CANDIDATE...]", help="Candidates (default: the study's whole cell).")
    ] = None,
    json: Json = "",
    output: Annotated[Path | None, typer.Option(help="CSV file for every row of the cell with its prediction.")] = None,
    root: Root = Path(),
) -> None:
    """Predict training-step times that a study has not measured, with intervals."""
    from halosearch.cli.predicting import predict_step_times

    predict_step_times(study, candidates or [], root, as_json=bool(json), output=output)


@app.command()
def report(
    study: Study,
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[OTHER]", help="A second study, to compare the first with.", autocompletion=study_names
        ),
    ] = None,
    json: Json = "",
    figures: Annotated[
        str | None, typer.Option(help="Also write every chart for print, with the CSV behind it: svg, pdf, or svg,pdf.")
    ] = None,
    root: Root = Path(),
) -> None:
    """Write a study's HTML page anew from its record, or compare two studies."""
    from halosearch.cli.reporting import write_pages

    write_pages(study, other, root, as_json=bool(json), figures=figures)


@app.command()
def export(
    study: Study,
    format_: Annotated[str, typer.Option("--format", help="csv, json or parquet (this needs pyarrow).")] = "csv",
    output: Annotated[Path | None, typer.Option(help="File to write (default: stdout; parquet needs a file).")] = None,
    root: Root = Path(),
) -> None:
    """Write the full table of a study's trials."""
    from halosearch.cli.reporting import export_table

    export_table(study, root, format_, output)


@app.command()
def bench(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TABLE...]", help="Folders of recorded tables, or 'saturating', 'rugged' (default: both of these)."
        ),
    ] = None,
    json: Json = "",
    record: Annotated[
        str | None,
        typer.Option(help="Make a recorded table of this study instead (sampler random, all trials retested)."),
    ] = None,
    contender: Annotated[list[str] | None, typer.Option(help="Only these searches, by name; repeatable.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Replays of each search.")] = 20,
    workers: Annotated[str, typer.Option(help="Simulated workers, for example 1,8.")] = "1,8",
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that replay (default: 1).")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for replays.jsonl and page.md, or for the table (default: bench).")
    ] = None,
    root: Root = Path(),
) -> None:
    """Replay a recorded table through samplers: is the search better, and by how much?"""
    from halosearch.cli.benching import BenchFlags, run_bench

    flags = BenchFlags(sources or [], root, record, contender or [], seeds, workers, processes, output)
    run_bench(flags, as_json=bool(json))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; never a traceback without --debug."""
    run_app(app, sys.argv[1:] if arguments is None else arguments)
