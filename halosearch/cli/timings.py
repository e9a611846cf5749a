"""`halosearch time`: step times of candidates, compared and written down."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from halosearch.cli.options import Json, Root
from halosearch.cli.output import format_table, put, put_json, say
from halosearch.errors import UsageError

BEST = "best"
OUTPUT = "step-times.json"


@dataclass(frozen=True, slots=True)
class TimeOptions:
    """The options of `time`; None leaves the device's default."""

    candidates: Annotated[
        list[str],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Candidates, measured in the same rounds; with timm installed also timm:NAME[@SIZE].",
        ),
    ]
    json: Json = ""
    compare: Annotated[
        bool, typer.Option("--compare", help="Ratios to the first candidate with a verdict; writes the JSON file.")
    ] = False
    output: Annotated[
        Path | None, typer.Option(help="File for all numbers and raw samples (with --compare: step-times.json).")
    ] = None
    train: Annotated[
        bool | None, typer.Option("--train/--infer", help="Training step only, or forward only (default: both).")
    ] = None
    batch_size: Annotated[
        str, typer.Option(help="Images per step, or 'best': each model's fastest batch within 85 % of the memory.")
    ] = ""
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the median and its interval are over these.")] = 7
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: torch's own choice).")] = None
    compiled: Annotated[
        bool, typer.Option("--compile/--eager", help="Through torch.compile; a study's steps are eager.")
    ] = False
    root: Root = Path()

    def batch(self) -> int | str | None:
        """Images of a step, `best`, or None.

        Raises:
            UsageError: neither.
        """
        if not self.batch_size or self.batch_size == BEST:
            return self.batch_size or None
        if not self.batch_size.isdecimal() or not int(self.batch_size):
            raise UsageError(f"--batch-size {self.batch_size!r} is not a number of images", "--batch-size 8, or best")
        return int(self.batch_size)


def _say_waiting() -> None:
    say("waiting until another measurement on this GPU ends")


def time_candidates(options: TimeOptions) -> None:
    """Forward and training step, all candidates in the same rounds."""
    texts = options.candidates
    batch = options.batch()
    if batch == BEST and options.compare:
        raise UsageError(
            "models at batches of their own are not compared step by step",
            "leave --compare out, or give one --batch-size",
        )
    if options.compare and len(texts) == 1:
        raise UsageError("a comparison needs two candidates or more", f"halosearch time {texts[0]} h0 --compare")
    if batch == 1 and options.train is not False:
        raise UsageError("a training step of 1 image cannot be measured", "--batch-size 2, or --infer")
    output = options.output or (Path(OUTPUT) if options.compare else None)
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", "give --output a file in an existing folder")
    subjects = _subjects(texts, options.root)
    import torch

    from halosearch.cost.devices import resolve_device, within_memory
    from halosearch.cost.peaks import measure_peaks
    from halosearch.run.engines.gpus import alone

    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # as a study's workers do
    measurements, comparisons = [], []

    with within_memory(device), alone(device, _say_waiting):
        peaks = measure_peaks(device)
        for training in (False, True) if options.train is None else (options.train,):
            say(
                f"measuring {'training step' if training else 'forward'} of {len(subjects)} model(s): {options.rounds} rounds, {device}"
            )
            rows, compared = _measure(subjects, options, batch, training, device, peaks)
            measurements += rows
            comparisons += compared
    document = {"measurements": measurements, "comparisons": comparisons, "peaks": peaks.to_dict()}
    if output is not None:
        from halosearch.files import write_text

        write_text(output, json.dumps(document, indent=1))
    if options.json:
        put_json(document)
    else:
        _print(document)
        if output is not None:
            put(f"all numbers and raw samples: {output}")


def _subjects(texts: list[str], root: Path) -> dict[str, Any]:
    """Candidates and models of timm by name; a text given twice is timed twice."""
    from halosearch.cli.candidates import resolve_candidate
    from halosearch.cost.subjects import is_timm, subject_of, timm_subject

    named: dict[str, Any] = {}
    for text in texts:
        repeat = sum(1 for name in named if name == text or name.startswith(f"{text} #"))
        subject = timm_subject(text) if is_timm(text) else subject_of(resolve_candidate(text, root))
        named[text if not repeat else f"{text} #{repeat + 1}"] = subject
    return named


def _measure(
    subjects: dict[str, Any], options: TimeOptions, batch: int | str | None, training: bool, device: Any, peaks: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from halosearch.cost.comparing import best_batch, compare
    from halosearch.cost.timing import TimingPlan, measure

    cuda = device.type == "cuda"
    compiled = options.compiled
    plan = TimingPlan(
        batch if isinstance(batch, int) else 64 if cuda else 4,
        options.rounds,
        steps=20 if cuda else 1,
        warmup=5 if cuda else 1,
        train=training,
        anchor_size=224 if cuda else 64,
        compiled=compiled,
    )
    kind = "training step" if training else "forward"
    if batch != BEST:
        times = measure(subjects, plan, device)
        compared = [{"measures": kind, **each.to_dict()} for each in compare(times)] if options.compare else []
    else:
        times, compared = [], []
        for name, subject in subjects.items():
            own = best_batch(
                subject, device, time.perf_counter, train=training, compiled=compiled, smallest=8 if cuda else 2
            )
            # a small anchor and no graph beside it: what fits is the model's to fill
            times += measure({name: subject}, replace(plan, batch_size=own, anchor_size=64, graph=False), device)
    return [
        {"measures": kind, **each.to_dict(), **_floor(subjects[each.name], each, peaks, device)} for each in times
    ], compared


def _floor(subject: Any, timed: Any, peaks: Any, device: Any) -> dict[str, Any]:
    """The practical floor of a candidate on this device's own peaks, and the share of the step that it is; not for timm."""
    from halosearch.cost.part_times import setting_of
    from halosearch.cost.roofline import floor_s
    from halosearch.families.halonet.counts import dials_of

    if subject.config is None:
        return {"floor_s": None, "share_of_floor": None}
    seconds = float(floor_s(dials_of(subject.config), setting_of(timed.plan, device), peaks))
    return {"floor_s": seconds, "share_of_floor": seconds / timed.seconds.median}


def _print(document: dict[str, Any]) -> None:
    rows = [
        [
            d["name"],
            d["measures"],
            d["plan"]["batch_size"],
            d["seconds"]["median"],
            d["seconds"]["low"],
            d["seconds"]["high"],
            d["user_seconds"]["median"],
            d["plan"]["batch_size"] / d["seconds"]["median"],
            d["ratio_to_anchor"]["median"],
            None if d["share_of_floor"] is None else 100 * d["share_of_floor"],
            d["memory_bytes"] / 1e6,
            "wide" if d["wide_interval"] else "ok",
        ]
        for d in document["measurements"]
    ]
    header = ["model", "measures", "batch", "median s", "low s", "high s", "user's s", "images/s"]
    put(format_table([*header, "x anchor", "% of floor", "memory MB", "interval"], rows))
    if document["comparisons"]:
        put("")
        compared = [
            [
                c["name"],
                c["measures"],
                c["against"],
                c["ratio"]["median"],
                c["ratio"]["low"],
                c["ratio"]["high"],
                c["verdict"],
            ]
            for c in document["comparisons"]
        ]
        put(format_table(["model", "measures", "against", "ratio", "low", "high", "verdict"], compared))
    first = document["measurements"][0]
    fingerprint = first["device"]
    put(
        f"on {fingerprint['device']}, torch {fingerprint['torch']}, {len(first['samples_s'])} rounds; order-statistics intervals "
        "of the median (95 % from six rounds on), wide = more than ±2 %; ratios over the same rounds"
    )
    for remark, key in (
        ("launch-bound (the user's step over 10 % above the device's)", "launch_bound"),
        ("throttled", "throttled"),
    ):
        named = [f"{d['name']} ({d['measures']})" for d in document["measurements"] if d[key]]
        if named:
            put(f"{remark}: {', '.join(named)}")
    put(f"{first['whose']}'s step: {first['how']}; % of floor: practical roofline on this device's own peaks")
