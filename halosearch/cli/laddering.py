"""The `ladder` command: shapes at several budgets and lengths, the law of their losses, and its check at a larger budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halosearch.cli.experimenting import run_spec
from halosearch.cli.options import Json, Root, Verbose
from halosearch.cli.running import StudyCommand, StudyOptions, resolver
from halosearch.errors import UsageError
from halosearch.spec.quantities import parse_count, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from halosearch.record.folders import Folders
    from halosearch.run.begin import ResolveDevice
    from halosearch.spec.study import StudySpec


@dataclass(frozen=True, slots=True)
class LadderOptions:
    """The options of `ladder`."""

    name: Annotated[str | None, typer.Argument(help="A ladder that was begun, to go on with (default: a new one).")] = (
        None
    )
    budgets: Annotated[str | None, typer.Option(help="Parameters of every rung, for example 4M,8M,16M,32M.")] = None
    images: Annotated[
        str | None, typer.Option(help="Lengths of training, for example 512,1024,2048 (default: the preset's).")
    ] = None
    star: Annotated[
        str | None, typer.Option(help="Instead of budgets: a centre, around which --vary moves one dial at a time.")
    ] = None
    vary: Annotated[
        list[str] | None, typer.Option(help="With --star: a dial's values, for example l3=1,2,4,8; may be repeated.")
    ] = None
    step_times: Annotated[
        bool | None,
        typer.Option("--step-times/--no-step-times", help="Time every shape's training step once (new ladders do)."),
    ] = None
    shapes: Annotated[int | None, typer.Option(min=1, help="Shapes drawn evenly at every budget (default: 4).")] = None
    seeds: Annotated[int | None, typer.Option(min=2, max=1000, help="Seeds of every shape (default: 3).")] = None
    check: Annotated[
        str | None,
        typer.Option(help="Train what is forecast for a larger budget, for example 64M, beside three others."),
    ] = None
    family: Annotated[str | None, typer.Option(help="Family: halonet (default) or efficientnet.")] = None
    preset: Annotated[str | None, typer.Option(help="Price class of a training (see study).")] = None
    data: Annotated[str | None, typer.Option(help="Folder of images, CIFAR files, or built-in scenes (default).")] = (
        None
    )
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of shapes, weights and scenes (default: 0).")] = None
    new_name: Annotated[str | None, typer.Option("--name", help="Name of a new ladder (default: ladder).")] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train (default: one per core).")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None
    max_time: Annotated[str | None, typer.Option("--max-time", help="Stop after this long, for example 2h.")] = None
    ray: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Run on the Ray cluster at host:port, or on one started here."),
    ] = None
    json: Json = ""
    verbose: Verbose = False
    root: Root = Path()


def run_ladder(options: LadderOptions) -> None:
    """The `ladder` command."""
    command = StudyCommand(
        StudyOptions(ray=options.ray, json=options.json, verbose=options.verbose, root=options.root), {}
    )
    resolve, seconds = (
        resolver(command.place()),
        None if options.max_time is None else parse_duration(options.max_time, "--max-time"),
    )
    from halosearch.run.ladders import begun_ladder

    said = {"preset": options.preset, "data": options.data, "seed": options.seed, "workers": options.workers, "device": options.device,
            "max_time_s": seconds, "seeds": options.seeds}  # fmt: skip
    if options.name is None:
        spec, folders = _new(options, said, resolve)
        exists = False
    else:
        _check_going_on(options)
        spec, folders = begun_ladder(options.name, options.root, said, time_arms=options.step_times)
        exists = True
        if options.check is not None:
            spec = _with_check(spec, folders, parse_count(options.check, "--check"))
    run_spec(spec, folders, command, exists=exists)


def _check_going_on(options: LadderOptions) -> None:
    """Refuse what only a new ladder can be told."""
    anew = {"--budgets": options.budgets, "--images": options.images, "--star": options.star, "--vary": options.vary,
            "--shapes": options.shapes, "--preset": options.preset, "--data": options.data, "--device": options.device,
            "--family": options.family, "--seed": options.seed, "--name": options.new_name}  # fmt: skip
    given = [flag for flag, value in anew.items() if value is not None]
    if given:
        raise UsageError(
            f"{given[0]} is of a new ladder, and {options.name!r} was begun",
            "leave it out, or begin another with --name",
        )


def _new(options: LadderOptions, said: Mapping[str, Any], resolve: ResolveDevice) -> tuple[StudySpec, Folders]:
    """A ladder, or a star, that is not there yet."""
    from halosearch.run.ladders import LadderRequest, new_ladder
    from halosearch.run.stars import StarRequest, new_star

    if options.check is not None:
        raise UsageError("--check is of a ladder that was run", "halosearch ladder NAME --check 64M")
    images = tuple(parse_count(word, "--images") for word in (options.images or "").split(",") if word.strip())
    seeds, name = options.seeds or 3, options.new_name or "ladder"
    said = {**said, "seed": options.seed or 0}
    if options.star is not None and (options.family is not None or options.step_times is not None):
        raise UsageError("a star is of HaloNets, and is not timed", "leave --family and --step-times out")
    if options.star is not None:
        if options.budgets is not None or options.shapes is not None:
            raise UsageError("a star has a centre, and no budgets or shapes drawn", "leave --budgets and --shapes out")
        star = StarRequest(name, options.root, options.star, options.vary or (), images, seeds, said)
        return new_star(star, resolve)
    if options.vary:
        raise UsageError("--vary moves dials around a centre", "give the centre, too: --star s=64,b=8,h=2,rb=2,l3=4")
    if options.budgets is None:
        raise UsageError("a new ladder needs budgets", "for example: halosearch ladder --budgets 4M,8M,16M,32M")
    budgets = tuple(parse_count(word, "--budgets") for word in options.budgets.split(",") if word.strip())
    request = LadderRequest(
        name, options.root, budgets, images, options.shapes or 4, seeds, options.family or "halonet",
        {**said, "time_arms": options.step_times},
    )  # fmt: skip
    return new_ladder(request, resolve)


def _with_check(spec: StudySpec, folders: Folders, budget: int) -> StudySpec:
    """The ladder with the forecast's arms; the forecast itself goes into the record before they are trained."""
    from halosearch.analysis.compound import extrapolated
    from halosearch.analysis.verdicts import LEAST
    from halosearch.record.storage import held, open_for_reading, open_for_writing
    from halosearch.report.ladder_summary import FORECAST, losses_of, shapes_of
    from halosearch.report.law_summary import law_summary
    from halosearch.run.ladders import with_check

    assert spec.experiment is not None
    if any(arm.check and arm.budget == budget for arm in spec.experiment.arms):  # said again: it goes on
        return spec
    if spec.experiment.star:
        raise UsageError("a star has one centre, and forecasts no budget", "a check is of a ladder of budgets")
    if spec.experiment.seeds < LEAST:
        raise UsageError(f"a check needs {LEAST} seeds, and the ladder has {spec.experiment.seeds}", f"--seeds {LEAST}")
    rows = open_for_reading(spec, folders).rows()
    shapes = shapes_of(spec, rows)
    wish = extrapolated(shapes, budget)
    checked = with_check(spec, budget, {name: value for name, value in wish.items() if name != "window"}, rivals=3)
    data = losses_of(spec, rows, spec.name)
    target = (float(budget), float(spec.preset.rungs[-1]))
    summary = law_summary(data, [spec.name], cooled=True, target=target)
    with held(spec, folders) as lock:
        table = open_for_writing(spec, folders, lock, lambda _: None, begun=True, mine=True)
        table.set_fact(f"{FORECAST}{budget}", {**summary["forecast"], "dials": wish, "law": summary["coefficients"]})
        table.close()
    return checked
