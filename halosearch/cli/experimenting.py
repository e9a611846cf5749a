"""The `experiment` command: run, continue or price an experiment; say what became of its expectations."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halosearch.cli.last_words import say_answer
from halosearch.cli.options import Json, Root, Verbose
from halosearch.cli.output import put_json, say
from halosearch.cli.running import (
    EXIT_BY_SIGNAL,
    StudyCommand,
    StudyOptions,
    catch_signals,
    count_past,
    listener_of,
    resolver,
)
from halosearch.errors import NothingUsableError, UsageError
from halosearch.record.folders import called
from halosearch.spec.quantities import parse_duration

if TYPE_CHECKING:
    from halosearch.record.folders import Folders
    from halosearch.spec.study import StudySpec


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """The options of `experiment`."""

    experiment: Annotated[str, typer.Argument(help="An experiment's YAML file, or the name of one that was begun.")]
    seeds: Annotated[int | None, typer.Option(min=2, help="Seeds of every arm (default: the file's).")] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train (default: one per core).")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N (default: the file's).")] = None
    max_time: Annotated[str | None, typer.Option("--max-time", help="Stop after this long, for example 2h.")] = None
    effect: Annotated[
        float | None, typer.Option(min=0, help="With --dry-run: how many seeds show a difference of this size.")
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]", help="Run on the Ray cluster at host:port; without an address start one here."
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it costs and what it could show; train nothing.")
    ] = False
    json: Json = ""
    verbose: Verbose = False
    root: Root = Path()


def run_experiment(options: ExperimentOptions) -> None:
    """The `experiment` command."""
    seconds = None if options.max_time is None else parse_duration(options.max_time, "--max-time")
    command = StudyCommand(
        StudyOptions(ray=options.ray, json=options.json, verbose=options.verbose, root=options.root), {}
    )
    place = command.place()
    if options.effect is not None and not options.dry_run:
        raise UsageError("--effect asks how many seeds a difference needs", "give --dry-run, too")
    from halosearch.run.experiments import Asked, resolve_experiment

    said = {"seeds": options.seeds, "workers": options.workers, "device": options.device, "max_time_s": seconds}
    spec, folders, exists = resolve_experiment(Asked(options.experiment, options.root, said, say), resolver(place))
    if options.dry_run:
        from halosearch.cli.experiment_forecast import print_price

        print_price(spec, folders, effect=options.effect, exists=exists, as_json=bool(options.json))
        return
    run_spec(spec, folders, command, exists=exists)


def run_spec(spec: StudySpec, folders: Folders, command: StudyCommand, *, exists: bool) -> None:
    """Run an experiment, or a ladder, and say what it found."""
    import pandas as pd

    from halosearch.cli.tally import Tally
    from halosearch.run.driver import Control
    from halosearch.run.place import parallel
    from halosearch.run.study import Run, run_study
    from halosearch.search.experiment import rows_of

    assert spec.experiment is not None
    tally = Tally(len(rows_of(spec.experiment, spec.seed)), workers=parallel(spec))
    if exists:
        count_past(tally, spec, folders)
    kind = "ladder" if spec.experiment.ladder else "experiment"
    title = f"{kind} {spec.name}: {len(spec.experiment.arms)} arms, {spec.experiment.seeds} seeds, preset {spec.preset.name}"
    listener = listener_of(tally, title, folders, command.options.json)
    control = Control(deadline=None if spec.max_time_s is None else time.monotonic() + spec.max_time_s)
    received = catch_signals(control, listener.message)
    try:
        listener.message(("continuing " if exists else "beginning ") + title)
        ended = run_study(Run(spec, folders, pd.DataFrame(), listener, control, command.place()))
    finally:
        listener.close()
    if ended.summary is not None:
        _say(ended.summary, folders, command, finished=ended.finished)
    if not ended.finished:
        say("stopped before its end. Continue with:")
        say(f"halosearch {kind} {called(folders)}{command.again()}")
    if received:
        sys.exit(EXIT_BY_SIGNAL[received[0]])
    if (
        ended.summary is not None
        and ended.finished
        and ended.summary["trainings"]["planned"]
        and not any(arm["scores"] for arm in ended.summary["arms"])
    ):
        raise NothingUsableError("no training gave a score", f"see {folders.logs}")


def _say(summary: dict[str, Any], folders: Folders, command: StudyCommand, *, finished: bool) -> None:
    """The answer and the page."""
    if command.options.json == "document":
        put_json({**summary, "finished": finished, "report": str(folders.report / "index.html")})
    elif not command.options.json:
        say_answer(summary, folders.report / "index.html", verbose=command.options.verbose)
