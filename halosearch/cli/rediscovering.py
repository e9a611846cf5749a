"""The `rediscover` command: is a published member found again?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from halosearch.cli.options import Json, Root, Verbose
from halosearch.cli.output import put, say
from halosearch.cli.running import EXIT_BY_SIGNAL, StudyCommand, StudyOptions, forecast_of, resolver, run_search
from halosearch.errors import NothingUsableError
from halosearch.spec.quantities import parse_duration


@dataclass(frozen=True, slots=True)
class RediscoverOptions:
    """The options of `rediscover`."""

    members: Annotated[list[str], typer.Argument(help="Published members, for example h0 h1, or efficientnet-b0.")]
    preset: Annotated[str | None, typer.Option(help="Price class of a training (see study).")] = None
    data: Annotated[str | None, typer.Option(help="Folder of images, CIFAR files, or built-in scenes (default).")] = (
        None
    )
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Candidates in all, 40 of them drawn evenly (default: 60).")
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of proposals, weights and scenes.")] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train (default: one per core).")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None
    max_time: Annotated[str | None, typer.Option("--max-time", help="Stop each after this long, for example 2h.")] = (
        None
    )
    force: Annotated[bool, typer.Option("--force", help="Search even where the proxy was shown not to rank.")] = False
    ray: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Run on the Ray cluster at host:port, or on one started here."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost; train and write nothing.")] = False
    json: Json = ""
    verbose: Verbose = False
    root: Root = Path()


def rediscover_members(options: RediscoverOptions) -> None:
    """The `rediscover` command: one study for each member, one after the other."""
    seconds = None if options.max_time is None else parse_duration(options.max_time, "--max-time")
    command = StudyCommand(
        StudyOptions(
            ray=options.ray, force=options.force, json=options.json, verbose=options.verbose, root=options.root
        ),
        {},
    )
    resolve = resolver(command.place())
    from halosearch.run.rediscover import rediscovery_spec

    said = {"preset": options.preset, "data": options.data, "trials": options.max_trials, "seed": options.seed, "workers": options.workers,
            "device": options.device, "max_time_s": seconds}  # fmt: skip
    asked = [rediscovery_spec(member, options.root, said, resolve) for member in options.members]
    worst = 0
    for spec, folders, exists in asked:
        if options.dry_run:
            forecast_of(spec, command)
            continue
        try:
            code = run_search(spec, folders, command, exists=exists)
        except NothingUsableError as error:
            if len(asked) == 1:
                raise
            say(f"{spec.rediscover}: {error}; {error.hint}")
            code = error.exit_code
        worst = worst or code
        if code in EXIT_BY_SIGNAL.values():
            break
    if not options.dry_run:
        _say_all(options)
    sys.exit(worst)


def _say_all(options: RediscoverOptions) -> None:
    """The page over all members that were asked for here, and its answer."""
    from halosearch.report.rediscovery_page import write_rediscovery

    summary, page = write_rediscovery(options.root)
    if not options.json:
        from halosearch.report.tops import rediscovery_top

        for sentence in summary["answer"] if options.verbose else [rediscovery_top(summary)["sentence"]]:
            put(sentence)
        put(f"all members: {page}")
