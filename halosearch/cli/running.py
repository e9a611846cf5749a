"""The `study` command: begin or continue, show progress, end in order."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halosearch.cli.output import format_table, put, put_json, say
from halosearch.errors import NothingUsableError, UsageError
from halosearch.spec.quantities import parse_bytes, parse_count, parse_duration, parse_tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from halosearch.cli.tally import Tally
    from halosearch.record.folders import Folders
    from halosearch.run.place import Place
    from halosearch.run.study import Control, Ended
    from halosearch.spec.session import Request
    from halosearch.spec.study import StudySpec

ADDRESS = re.compile(r"[^/\s:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
HERE = "here"
"""The value of --ray without an address."""
EXIT_BY_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True, slots=True)
class StudyFlags:
    """The flags of `study` as typed."""

    study: str | None
    root: Path
    name: str | None
    params: str | None
    macs: str | None
    tolerance: str | None
    seed: int | None
    sampler: str | None
    data: str | None
    device: str
    preset: str | None
    trials: int | None
    retests: int | None
    workers: int | None
    max_time: str | None
    force: bool = False
    lookahead: int | None = None
    ray: str | None = None
    engine: str | None = None
    gpus_per_trial: float | None = None
    max_gpu_hours: float | None = None
    max_trial_time: str | None = None
    max_trial_memory: str | None = None
    storage: str | None = None

    def place(self) -> Place:
        """Where the study is to run."""
        from halosearch.run.place import ENGINES, LOCAL, RAY, Place

        engine = self.engine or (LOCAL if self.ray is None else RAY)
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine!r}", f"engines are {', '.join(ENGINES)}")
        if engine == LOCAL and (self.ray is not None or self.gpus_per_trial is not None):
            flag = "--ray" if self.ray is not None else "--gpus-per-trial"
            raise UsageError(f"{flag} says how to run on Ray, and the engine is local", "leave it out, or --engine ray")
        share = self.gpus_per_trial
        if share is not None and share > 1 and share != round(share):
            raise UsageError(f"--gpus-per-trial {share:g} is no share of a GPU", "up to 1, or a whole number")
        if self.ray not in (None, HERE, "auto") and not ADDRESS.fullmatch(self.ray or ""):
            raise UsageError(
                f"--ray {self.ray} is no address of a head", "give host:port as printed by ray start --head, or auto"
            )
        return Place(engine, None if self.ray in (None, HERE) else self.ray, share)

    def again(self) -> str:
        """The flags that a continued study needs once more: where to run is not kept in study.yaml."""
        words = [f"--engine {self.engine}"] if self.engine else []
        if self.ray is not None:
            words.append("--ray" if self.ray == HERE else f"--ray {self.ray}")
        if self.gpus_per_trial is not None:
            words.append(f"--gpus-per-trial {self.gpus_per_trial:g}")
        return "".join(f" {word}" for word in words)

    def request(self) -> Request:
        """Parsed; malformed budgets answer before anything heavy is imported."""
        params = None if self.params is None else parse_count(self.params, "--budget-params")
        max_macs = None if self.macs is None else parse_count(self.macs, "--budget-macs")
        tolerance = None if self.tolerance is None else parse_tolerance(self.tolerance)
        max_time_s = None if self.max_time is None else parse_duration(self.max_time, "--max-time")
        if self.storage is not None:
            from halosearch.record.database import carries_a_password, url_of

            if carries_a_password(self.storage):
                raise UsageError(
                    "the address in --storage carries a password, and study.yaml would show it",
                    "leave it out and put it into ~/.pgpass or PGPASSWORD",
                )
            url_of(self.storage)
        from halosearch.spec.session import Request

        return Request(
            self.study,
            self.root,
            self.name,
            params,
            tolerance,
            max_macs,
            self.seed,
            self.sampler,
            self.data,
            self.device,
            self.preset,
            self.trials,
            self.retests,
            self.workers,
            max_time_s,
            self.max_gpu_hours,
            None if self.max_trial_time is None else parse_duration(self.max_trial_time, "--max-trial-time"),
            None if self.max_trial_memory is None else parse_bytes(self.max_trial_memory, "--max-trial-memory"),
            self.storage,
            self.lookahead,
        )


def _device_type(name: str) -> str:
    if name == "cpu":
        return name
    from halosearch.cost.devices import resolve_device

    return resolve_device(name).type


def _resolver(place: Place) -> Callable[[str], str]:
    """How device names are understood: on Ray the driver's machine need not have what its workers have, and each looks for itself."""

    def resolve_there(name: str) -> str:
        if name == "auto":
            return "cuda" if place.gpus_per_trial else _device_type(name)
        if name not in ("cpu", "cuda"):
            raise UsageError(
                f"--device {name} cannot be asked of a cluster", "use cpu or cuda; each worker sees its own"
            )
        return name

    return _device_type if place.engine == "local" else resolve_there


def run_or_forecast(flags: StudyFlags, *, dry_run: bool, json: str) -> None:
    """The `study` command."""
    if json not in ("", "document", "lines"):
        raise UsageError(f"--json={json} is unknown", "use --json or --json=lines")
    place = flags.place()
    request = flags.request()
    from halosearch.search.candidates import cell_of
    from halosearch.spec.session import resolve

    spec, folders, exists = resolve(request, _resolver(place))
    if spec.max_gpu_hours is not None and not place.share(spec):
        raise UsageError("--max-gpu-hours limits GPUs, and this study uses none", "use --max-time instead")
    cell = cell_of(spec)
    if dry_run:
        _device_type(spec.device)  # what it would cost is measured here
        _print_forecast(spec, cell, as_json=bool(json))
        return
    _run(spec, folders, cell, json, flags, place, exists=exists)


def _print_forecast(spec: StudySpec, cell: pd.DataFrame, *, as_json: bool) -> None:
    from halosearch.run.forecast import forecast

    document = forecast(spec, cell)
    if as_json:
        put_json(document)
        return
    low, high = document["study_seconds"]
    disk = document["disk_bytes"]
    put(
        f"study {spec.name}: {document['cell_size']:,} candidates within {spec.budget.params:,} parameters ±{100 * spec.budget.tolerance:g} %, "
        f"of {document['space_size']:,} combinations of dials"
    )
    put(
        format_table(
            ["probed candidate", "step s", "low", "high", "twin images/s", "trial s"],
            [
                [p["candidate"], *p["step_time_s"].values(), p["twin_images_per_s"], p["trial_s"]]
                for p in document["probes"]
            ],
        )
    )
    put(
        f"{document['price']} On {spec.workers} worker(s), preset {spec.preset.name}: "
        f"{low / 60:.0f} to {high / 60:.0f} minutes, {document['gpu_hours'][0]:.1f} to {document['gpu_hours'][1]:.1f} GPU-hours, "
        f"{disk[0] / 1e6:.0f} to {disk[1] / 1e6:.0f} MB of disk"
    )
    put(f"{document['share_not_fitting']:.1%} of the cell is estimated not to fit in memory")
    for sentence in document["published"]:
        put(sentence)
    put("nothing was trained or written")


def _run(
    spec: StudySpec, folders: Folders, cell: pd.DataFrame, json: str, flags: StudyFlags, place: Place, *, exists: bool
) -> None:
    from halosearch.cli.progress import JsonLines, Lines, Panel
    from halosearch.cli.tally import Tally
    from halosearch.run.place import parallel
    from halosearch.run.study import Control, exit_code, run_study
    from halosearch.search.price import price_of

    price = price_of(spec)
    tally = Tally(price.jobs, workers=parallel(spec))
    if exists:
        _count_past(tally, spec, folders)
    budget = f"{spec.budget.params:,} parameters ±{100 * spec.budget.tolerance:g} %"
    title = f"study {spec.name}: {budget}, {len(cell):,} candidates, preset {spec.preset.name}"
    where = f"logs {folders.logs}   report {folders.report / 'index.html'}"
    interactive = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and json != "lines"
    watcher = Panel(tally, title, where) if interactive else JsonLines(tally) if json == "lines" else Lines(tally)
    deadline = None if spec.max_time_s is None else time.monotonic() + spec.max_time_s
    control = Control(deadline=deadline)
    received = _catch_signals(control, watcher.message)
    try:
        watcher.message(("continuing " if exists else "beginning ") + title)
        if not exists:
            watcher.message(price.words())
        if spec.workers > spec.lookahead:
            watcher.message(
                f"{spec.lookahead} of {spec.workers} workers are used: the study looks {spec.lookahead} moves ahead"
            )
        ended = run_study(spec, folders, watcher, control, cell, place, force=flags.force)
    finally:
        watcher.close()
    if ended.refused and not received:
        raise NothingUsableError(
            f"the proxy does not rank the candidates of this cell: {ended.summary['validation']['reason']}",
            f"a longer preset (--preset) or other data may; to search anyway: halosearch study {spec.name} --force; the page: {ended.page}",
        )
    why = "stopped" if received else control.reason or "time is up"
    _last_words(ended, spec, folders, why, json, flags.again())
    code = EXIT_BY_SIGNAL[received[0]] if received else exit_code(ended.summary)
    if code == NothingUsableError.exit_code:
        first = ended.summary["failures"][0]
        raise NothingUsableError(
            f"no trial gave a usable result; {len(first['trials'])} ended as {first['state']}: {first['reason']}",
            f"see {folders.logs} and {ended.page}",
        )
    sys.exit(code)


def _count_past(tally: Tally, spec: StudySpec, folders: Folders) -> None:
    from halosearch.cli.tally import count_record
    from halosearch.record.storage import open_for_reading

    if spec.storage is None and not folders.journal.exists():
        return
    store = open_for_reading(spec, folders)
    count_record(tally, store.trials(), store.notes())


def _catch_signals(control: Control, message: Any) -> list[signal.Signals]:
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


def _last_words(ended: Ended, spec: StudySpec, folders: Folders, why: str, json: str, again: str) -> None:
    if json == "document":
        put_json({**ended.summary, "finished": ended.finished, "report": str(ended.page)})
    elif json == "":
        for sentence in ended.summary["answer"]:
            put(sentence)
        front = ended.summary["front"]
        if len(front) > 1:
            numbers = ", ".join(map(str, front))
            put(f"The frontier of score against step time has {len(front)} candidates: trials {numbers}.")
        put(f"report: {ended.page}")
    root = folders.study.parent.parent
    where = "" if root.resolve() == Path.cwd() else f" --dir {shlex.quote(str(root))}"
    if not ended.finished:
        say(
            f"{why}; {spec.trials - len([t for t in ended.summary['trials'] if t['state'] != 'running'])} trials are left. Continue with:"
        )
        say(f"halosearch study {spec.name}{where}{again}")
    else:
        say(f"next: halosearch frontier {spec.name}{where}")
