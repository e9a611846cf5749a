"""The `study` command: begin or continue, show progress, end in order."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halosearch.cli.last_words import say_answer
from halosearch.cli.options import Json, Root, Verbose
from halosearch.cli.output import put_json, say
from halosearch.errors import NothingUsableError, StoreError, UsageError
from halosearch.record.folders import called

if TYPE_CHECKING:
    import pandas as pd

    from halosearch.cli.progress import JsonLines, Lines, Panel
    from halosearch.cli.tally import Tally
    from halosearch.record.folders import Folders
    from halosearch.run.begin import Request
    from halosearch.run.driver import Control
    from halosearch.run.place import Place
    from halosearch.run.study import Ended
    from halosearch.spec.study import StudySpec

ADDRESS = re.compile(r"[^/\s:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
HERE = "here"
"""The value of --ray without an address."""
EXIT_BY_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """The options of `study` that are not kept in study.yaml: which study, where it runs, how it is shown."""

    study: Annotated[
        str | None, typer.Argument(help="A study's name or a study.yaml (default: named by its budget).")
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Run trials on the Ray cluster at host:port (auto: the one of this machine); without an address start one here.",
        ),
    ] = None
    engine: Annotated[
        str | None, typer.Option(help="local (default), ray, or ray-tune: the same study under Ray Tune.")
    ] = None
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="Share of a GPU that a trial holds on Ray (default: 1 on CUDA).")
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="Search even where the proxy was shown not to rank the candidates.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost; train and write nothing.")] = False
    json: Json = ""
    verbose: Verbose = False
    root: Root = Path()


@dataclass(frozen=True, slots=True)
class StudyCommand:
    """The whole command as typed: its own options, and flat values of a study file by key."""

    options: StudyOptions
    said: Mapping[str, Any]

    def place(self) -> Place:
        """Where the study is to run."""
        from halosearch.run.place import ENGINES, LOCAL, RAY, Place

        options = self.options
        engine = options.engine or (LOCAL if options.ray is None else RAY)
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine!r}", f"engines are {', '.join(ENGINES)}")
        if engine == LOCAL and (options.ray is not None or options.gpus_per_trial is not None):
            flag = "--ray" if options.ray is not None else "--gpus-per-trial"
            raise UsageError(f"{flag} says how to run on Ray, and the engine is local", "leave it out, or --engine ray")
        share = options.gpus_per_trial
        if share is not None and share > 1 and share != round(share):
            raise UsageError(f"--gpus-per-trial {share:g} is no share of a GPU", "up to 1, or a whole number")
        if options.ray not in (None, HERE, "auto") and not ADDRESS.fullmatch(options.ray or ""):
            raise UsageError(
                f"--ray {options.ray} is no address of a head",
                "give host:port as printed by ray start --head, or auto",
            )
        return Place(engine, None if options.ray in (None, HERE) else options.ray, share)

    def again(self) -> str:
        """The flags that a continued study needs once more: where to run is not kept in study.yaml."""
        options = self.options
        words = [f"--engine {options.engine}"] if options.engine else []
        if options.ray is not None:
            words.append("--ray" if options.ray == HERE else f"--ray {options.ray}")
        if options.gpus_per_trial is not None:
            words.append(f"--gpus-per-trial {options.gpus_per_trial:g}")
        return "".join(f" {word}" for word in words)

    def request(self) -> Request:
        """Parsed; malformed budgets answer before anything heavy is imported."""
        from halosearch.spec.flags import nested
        from halosearch.spec.study import StudySpec

        said = nested(StudySpec, self.said)
        from halosearch.run.begin import Request

        return Request(self.options.study, self.options.root, said, say)


def _device_here(name: str) -> str:
    if name == "cpu":
        return name
    from halosearch.cost.devices import resolve_device

    return str(resolve_device(name))


def resolver(place: Place) -> Callable[[str], str]:
    """How device names are understood: on Ray the driver's machine need not have what its workers have, and each looks for itself."""

    def resolve_there(name: str) -> str:
        if name == "auto":
            return "cuda" if place.gpus_per_trial else _device_here(name)
        if name not in ("cpu", "cuda"):
            raise UsageError(
                f"--device {name} cannot be asked of a cluster", "use cpu or cuda; each worker sees its own"
            )
        return name

    return _device_here if place.engine == "local" else resolve_there


def run_or_forecast(command: StudyCommand) -> None:
    """The `study` command."""
    json = command.options.json
    if json not in ("", "document", "lines"):
        raise UsageError(f"--json={json} is unknown", "use --json or --json=lines")
    place = command.place()
    request = command.request()
    from halosearch.run.begin import resolve

    spec, folders, exists = resolve(request, resolver(place))
    if spec.experiment is not None:
        raise UsageError(f"{spec.name!r} is an experiment, not a search", f"halosearch experiment {called(folders)}")
    if spec.max_gpu_hours is not None and not place.share(spec):
        raise UsageError("--max-gpu-hours limits GPUs, and this study uses none", "use --max-time instead")
    if command.options.dry_run:
        forecast_of(spec, command)
        return
    sys.exit(run_search(spec, folders, command, exists=exists))


def forecast_of(spec: StudySpec, command: StudyCommand) -> None:
    """Say what a search would cost, measured here."""
    from halosearch.cli.forecasting import print_forecast
    from halosearch.cost.pools import pool_of

    _device_here(spec.device)
    print_forecast(spec, pool_of(spec), as_json=bool(command.options.json))


def run_search(spec: StudySpec, folders: Folders, command: StudyCommand, *, exists: bool) -> int:
    """Run a search, say what it found, and return the exit code.

    Raises:
        NothingUsableError: no trial gave a result, or the proxy does not rank.
    """
    from halosearch.cost.pools import pool_of

    return _run(spec, folders, pool_of(spec), command, exists=exists)


def _run(spec: StudySpec, folders: Folders, candidates: pd.DataFrame, command: StudyCommand, *, exists: bool) -> int:
    from halosearch.cli.tally import Tally
    from halosearch.run.driver import Control
    from halosearch.run.place import parallel
    from halosearch.run.study import Run, exit_code, run_study
    from halosearch.search.design import price_of

    json, price = command.options.json, price_of(spec)
    tally = Tally(price.rows, workers=parallel(spec))
    if exists:
        count_past(tally, spec, folders)
    budget = f"{spec.budget.params:,} parameters ±{100 * spec.budget.tolerance:g} %"
    title = f"study {spec.name}: {budget}, {len(candidates):,} candidates, preset {spec.preset.name}"
    listener = listener_of(tally, title, folders, json)
    deadline = None if spec.max_time_s is None else time.monotonic() + spec.max_time_s
    control = Control(deadline=deadline)
    received = catch_signals(control, listener.message)
    try:
        listener.message(("continuing " if exists else "beginning ") + title)
        if not exists:
            listener.message(price.words())
        if spec.workers > spec.max_in_flight:
            listener.message(
                f"{spec.max_in_flight} of {spec.workers} workers are used: "
                f"{spec.max_in_flight} decisions of this study may be under way at once"
            )
        place, force = command.place(), command.options.force
        ended = run_study(Run(spec, folders, candidates, listener, control, place, force=force))
    finally:
        listener.close()
    why = "stopped" if received else control.reason or "time is up"
    _end(ended, spec, folders, why, command, received)
    code = EXIT_BY_SIGNAL[received[0]] if received else 0 if ended.summary is None else exit_code(ended.summary)
    if ended.summary is not None and code == NothingUsableError.exit_code:
        first = ended.summary["failures"][0]
        raise NothingUsableError(
            f"no trial gave a usable result; {len(first['trials'])} ended as {first['state']}: {first['reason']}",
            f"see {folders.logs} and {ended.page}",
        )
    return code


def listener_of(tally: Tally, title: str, folders: Folders, json: str) -> Panel | Lines | JsonLines:
    """Who is told how a study goes: a panel on a terminal, lines elsewhere, JSON lines where they are asked for."""
    from halosearch.cli.progress import JsonLines, Lines, Panel

    if json == "lines":
        return JsonLines(tally)
    where = f"logs {folders.logs}   report {folders.report / 'index.html'}"
    interactive = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Panel(tally, title, where) if interactive else Lines(tally)


def count_past(tally: Tally, spec: StudySpec, folders: Folders) -> None:
    """Count what the record holds already."""
    from halosearch.cli.tally import count_rows
    from halosearch.record.storage import open_for_reading

    if spec.storage is not None or folders.journal.exists():
        with contextlib.suppress(StoreError):  # the run itself recovers it, or says what is wrong
            count_rows(tally, open_for_reading(spec, folders).rows())


def catch_signals(control: Control, message: Any) -> list[signal.Signals]:
    """First SIGINT or SIGTERM: an orderly end. Second: out within two seconds; the record is whole at any moment."""
    received: list[signal.Signals] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        received.append(signal.Signals(number))
        if len(received) > 1:
            from halosearch.run.engines.ray_client import abandon

            abandon(EXIT_BY_SIGNAL[received[0]])
        control.stopping = True
        message(f"{received[0].name}: finishing the step, writing checkpoints; once more to leave at once")

    for number in EXIT_BY_SIGNAL:
        signal.signal(number, handle)
    return received


def _end(
    ended: Ended, spec: StudySpec, folders: Folders, why: str, command: StudyCommand, received: list[signal.Signals]
) -> None:
    """The last words: the answer, the page, how to go on."""
    json, summary = command.options.json, ended.summary
    name = called(folders)
    if ended.refused and not received:
        reason = "" if summary is None else f": {summary['validation']['reason']}"
        raise NothingUsableError(
            f"the proxy does not rank the candidates of this pool{reason}",
            f"a longer preset (--preset) or other data may; to search anyway: halosearch study {name} --force; the page: {ended.page}",
        )
    if summary is None and not folders.journal.exists() and spec.storage is None:
        pass  # it stopped before anything was recorded
    elif summary is None:
        say(f"the record is whole; write the page with: halosearch report {name}")
    elif json == "document":
        put_json({**summary, "finished": ended.finished, "report": str(ended.page)})
    elif json == "":
        say_answer(summary, ended.page, verbose=command.options.verbose)
    if ended.finished:
        say(f"next: halosearch frontier {name}")
        return
    trials = [] if summary is None else [t for t in summary["trials"] if t["state"] != "running"]
    say(f"{why}; {spec.trials - len(trials)} trials are left. Continue with:")
    say(f"halosearch study {name}{command.again()}")
