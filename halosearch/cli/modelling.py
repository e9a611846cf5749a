"""`halosearch train-model` and `export-model`: a full training of a candidate on a user's own pictures, and what others can load of it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halosearch.cli.options import Candidate, Json, Root
from halosearch.cli.output import put, put_json, say
from halosearch.errors import NothingUsableError, UsageError
from halosearch.spec.quantities import parse_duration

if TYPE_CHECKING:
    from halosearch.training.job import Progress

SAY_EVERY_S = 15.0
MOST_SEED = 2**63 - 1
DATA = (
    "Class folders (with train and val, or without), CIFAR files, archives of ILSVRC-2012, shards, parquet, or hf:NAME."
)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The options of `train-model`; those of the recipe are None where the recipe's own value holds."""

    candidate: Candidate
    data: Annotated[str, typer.Option(help=DATA)]
    name: Annotated[str, typer.Option(help="What the model is called: models/NAME.")] = "model"
    recipe: Annotated[str, typer.Option(help="short (AdamW, 30 epochs) or paper (SGD, batch 4096, 350 epochs).")] = (
        "short"
    )
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures.")] = None
    batch: Annotated[int | None, typer.Option(min=2, help="Images of a step, over all processes and parts.")] = None
    accumulate: Annotated[int | None, typer.Option(min=1, help="Parts that a step's gradients are summed over.")] = None
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate (default: by the batch).")] = None
    momentum: Annotated[float | None, typer.Option(help="Of sgd.")] = None
    weight_decay: Annotated[float | None, typer.Option(help="Decay of matrices.")] = None
    clip: Annotated[float | None, typer.Option(help="Largest norm of a step's gradient; 0 for any.")] = None
    final_rate: Annotated[float | None, typer.Option(help="Share of the peak rate at the end.")] = None
    warmup_epochs: Annotated[float | None, typer.Option(help="Epochs of rising rate.")] = None
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target that all classes get.")] = None
    randaugment: Annotated[
        int | None, typer.Option(min=0, max=31, help="Magnitude; needs torchvision; 0 for none.")
    ] = None
    mixup: Annotated[float | None, typer.Option(help="Beta parameter; needs torchvision.")] = None
    cutmix: Annotated[float | None, typer.Option(help="Beta parameter; needs torchvision.")] = None
    stochastic_depth: Annotated[float | None, typer.Option(help="Share of images that the last branch leaves out.")] = (
        None
    )
    dropout: Annotated[float | None, typer.Option(help="Before the classifier.")] = None
    ema: Annotated[float | None, typer.Option(help="Decay of averaged weights by step; 0 for none.")] = None
    crop: Annotated[float | None, typer.Option(help="Least share of a picture that a training crop keeps.")] = None
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror images; not for digits or text.")] = None
    test_crop: Annotated[
        float | None, typer.Option(help="Share of the shorter side that is looked at when scoring.")
    ] = None
    layer_decay: Annotated[float | None, typer.Option(help="Factor on the rate from each stage to the one before.")] = (
        None
    )
    frozen: Annotated[int | None, typer.Option(min=0, help="So many stages, with the stem, are not trained.")] = None
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None
    image_size: Annotated[int | None, typer.Option(min=32, help="Another image size than the candidate's.")] = None
    init: Annotated[Path | None, typer.Option(help="Weights to begin from: models/NAME, or a file.")] = None
    embeddings: Annotated[
        str, typer.Option(help="With --init: position embeddings of another window, interpolated or zero.")
    ] = "interpolated"
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of weights, order and augmentation.")] = 0
    loader_workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read pictures (default: none on a CPU, else one per core)."),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    max_time: Annotated[str | None, typer.Option("--max-time", help="Stop after this long, for example 2h.")] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]", help="Train on Ray's workers: of the cluster at host:port, or one started here."
        ),
    ] = None
    workers: Annotated[int, typer.Option(min=1, help="With --ray: processes that share the training.")] = 2
    json: Json = ""
    root: Root = Path()


RECIPE_OPTIONS = (
    "epochs", "batch", "accumulate", "optimizer", "learning_rate", "weight_decay", "warmup_epochs", "label_smoothing", "randaugment",
    "mixup", "cutmix", "stochastic_depth", "dropout", "ema", "crop", "layer_decay", "frozen", "precision", "momentum", "clip", "final_rate",
    "flip", "test_crop",
)  # fmt: skip


def train_model_of(options: ModelOptions) -> None:
    """The `train-model` command."""
    seconds = None if options.max_time is None else parse_duration(options.max_time, "--max-time")
    if options.embeddings not in ("interpolated", "zero"):
        raise UsageError(f"--embeddings {options.embeddings} is unknown", "--embeddings interpolated, or zero")
    from halosearch.cli.candidates import resolve_candidate
    from halosearch.cli.running import EXIT_BY_SIGNAL, catch_signals
    from halosearch.cost.devices import resolve_device
    from halosearch.run.driver import Control
    from halosearch.run.model import Listening, ModelRequest, train_model
    from halosearch.training.job import DivergedError, StoppedError
    from halosearch.training.world import together, world_here

    asked = ModelRequest(
        resolve_candidate(options.candidate, options.root), options.data, options.root, options.name, options.recipe,
        {key: getattr(options, key) for key in RECIPE_OPTIONS}, options.image_size, options.seed, options.init,
        options.embeddings, options.loader_workers, options.candidate if "#" in options.candidate else "",
    )  # fmt: skip
    if options.ray is not None:
        from halosearch.cli.running import HERE
        from halosearch.run.model_ray import train_on_ray

        if seconds is not None:
            raise UsageError(
                "--max-time is not watched on Ray's workers", "leave it out; Ctrl-C, and the same line goes on"
            )
        address = None if options.ray == HERE else options.ray
        _say_results(train_on_ray(asked, options.workers, address, options.device), options)
        return
    world = world_here()
    name = options.device
    if world.size > 1 and resolve_device(name).type == "cuda":
        name = f"cuda:{world.local_device()}"
    device = resolve_device(name)
    control = Control(deadline=None if seconds is None else time.monotonic() + seconds)
    received = catch_signals(control, say)
    telling = Listening(say, _Progress(leads=world.leads), control.stop_now)
    try:
        with together(world, device):
            about = train_model(asked, device, world, telling)
    except StoppedError:
        if world.leads:
            say("stopped before its end; its checkpoint is written. The same line goes on with it.")
        sys.exit(EXIT_BY_SIGNAL[received[0]] if received else 0)
    except DivergedError as error:
        raise NothingUsableError(str(error), error.hint) from error
    if world.leads:
        _say_results(about, options)


def _say_results(about: dict[str, Any], options: ModelOptions) -> None:
    """What it scores, and where its page is."""
    page = options.root / "models" / options.name / "index.html"
    if options.json:
        put_json({**about, "page": str(page)})
        return
    from halosearch.report.model_page import model_answer

    for sentence in model_answer(about):
        put(sentence)
    put(f"page: {page}")


class _Progress:
    """A line now and then, of the process that leads."""

    def __init__(self, *, leads: bool) -> None:
        self._next = 0.0 if leads else float("inf")

    def __call__(self, progress: Progress, images_per_s: float, left_s: float) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if now < self._next or not images_per_s:
            return
        self._next = now + SAY_EVERY_S
        loss = progress.loss_sum / max(1, progress.loss_steps)
        scored = (
            f", top-1 {100 * progress.epochs[-1]['top1']:.2f} % after epoch {progress.epochs[-1]['epoch']}"
            if progress.epochs
            else ""
        )
        say(
            f"step {progress.step:,}: loss {loss:.3f}, {images_per_s:.0f} images/s, about {left_s / 60:.0f} minutes left{scored}"
        )


@dataclass(frozen=True, slots=True)
class ExportModelOptions:
    """The options of `export-model`."""

    name: Annotated[str, typer.Argument(help="A model that was trained: models/NAME.")]
    formats: Annotated[str, typer.Option(help="Of safetensors, torch, onnx, between commas.")] = (
        "safetensors,torch,onnx"
    )
    output: Annotated[Path | None, typer.Option(help="Folder (default: models/NAME/export).")] = None
    json: Json = ""
    root: Root = Path()


def export_model_of(options: ExportModelOptions) -> None:
    """The `export-model` command."""
    import shlex

    from halosearch.run.model import folder_of
    from halosearch.training.exporting import export_model

    folder = folder_of(options.root, options.name)
    target = folder / "export" if options.output is None else options.output
    formats = [word.strip() for word in options.formats.split(",") if word.strip()]
    command = shlex.join(["halosearch", "export-model", options.name, "--formats", ",".join(formats)])
    found = export_model(folder, target, formats, command)
    if options.json:
        put_json([{"file": str(each.path), "difference": each.difference} for each in found])
        return
    for each in found:
        held = "" if each.difference is None else f"; outputs within {each.difference:.1e} of the network's"
        put(f"{each.path}{held}")
    put(f"card: {target / 'README.md'}")
