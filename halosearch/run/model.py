"""A full training from what was asked: network, data, recipe, folder; begun, gone on with, ended with weights and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from halosearch import __version__
from halosearch.errors import EnvironmentFault, UsageError
from halosearch.families.known import Config, build, candidate_text, count
from halosearch.files import write_text
from halosearch.proxy import checkpoint
from halosearch.report.model_page import write_model
from halosearch.training.loop import ModelJob, ModelTrainer, Progress
from halosearch.training.pictures import Source, open_pictures
from halosearch.training.recipe import ModelRecipe, recipe_of
from halosearch.training.transfer import INTERPOLATED, WEIGHTS, begin_from, fingerprint_of, read_weights
from halosearch.training.world import World

MODELS = "models"
ABOUT, CHECKPOINT, LOG = "model.json", "checkpoint.pt", "log.csv"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is asked for. `recipe`: its name; `said`: what of it was said otherwise; `init`: weights to begin from."""

    config: Config
    data: str
    root: Path
    name: str
    recipe: str
    said: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    seed: int = 0
    init: Path | None = None
    embeddings: str = INTERPOLATED
    loader_workers: int = 0


@dataclass(frozen=True, slots=True)
class Listening:
    """Who is told: words, how far an epoch is (progress, images a second, seconds left), and whether to stop."""

    tell: Callable[[str], None]
    look: Callable[[Progress, float, float], None]
    should_stop: Callable[[], bool]


def folder_of(root: Path, name: str) -> Path:
    """models/NAME."""
    if not name or name != Path(name).name or name.startswith("."):
        raise UsageError(f"a model cannot be called {name!r}", "a name without slashes, for example --name small")
    return root / MODELS / name


def train_model(asked: ModelRequest, device: torch.device, world: World, listening: Listening) -> dict[str, Any]:
    """Train, or go on, and return what models/NAME/model.json says.

    Raises:
        StoppedError: it was asked to stop; the same line goes on.
        UsageError: the name is taken by a model of another network, recipe or data.
        NothingUsableError: the loss was no number.
    """
    folder = folder_of(asked.root, asked.name)
    config = asked.config if asked.image_size is None else replace(asked.config, image_size=asked.image_size)  # type: ignore[type-var]
    recipe = recipe_of(asked.recipe, config, dict(asked.said))
    source = open_pictures(asked.data)
    torch.manual_seed(asked.seed)
    network = build(config, len(source.classes))
    _let_out(network, recipe)
    begun, words = "", ""
    if asked.init is not None:
        weights = read_weights(asked.init)
        words = begin_from(network, weights, embeddings=asked.embeddings).words()
        begun = f"{fingerprint_of(weights)}-{asked.embeddings}"
    job = ModelJob(
        candidate_text(config), config.image_size, len(source.classes), recipe, asked.seed, source.fingerprint, begun
    )
    about = _begin(folder, job, source, config, world)
    if about.get("finished"):
        return about
    if world.leads:
        listening.tell(f"data: {source.description}")
        if source.left_out:
            listening.tell(
                f"{len(source.left_out):,} files are not used, the first: {source.left_out[0][0]} ({source.left_out[0][1]})"
            )
        if words:
            listening.tell(f"weights: {words}")
    trainer = ModelTrainer(
        job, network, source, device, folder / CHECKPOINT, world, asked.loader_workers,
        listening.should_stop, listening.look, lambda progress: _epoch(folder, about, progress, world),
    )  # fmt: skip
    progress, kept = trainer.run()
    if world.leads:
        checkpoint.save(folder / WEIGHTS, kept)
        about |= {"finished": True, **_results(progress)}
        _write(folder, about, progress)
        write_model(folder, about)
    return about


def _let_out(network: Any, recipe: ModelRecipe) -> None:
    """Dropout and stochastic depth of the recipe, rising with depth."""
    from halosearch.families.building_blocks import ResidualBlock

    network.dropout = recipe.dropout
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for place, block in enumerate(blocks):
        block.drop = recipe.stochastic_depth * (place + 1) / len(blocks)


def _begin(folder: Path, job: ModelJob, source: Source, config: Config, world: World) -> dict[str, Any]:
    """What is known of the model that is trained in the folder; a new one is written down first."""
    about: dict[str, Any] = {
        "format": 1,
        "halosearch": __version__,
        "torch": torch.__version__,
        "job": job.to_dict(),
        "classes": list(source.classes),
        "data": source.description,
        "params": count(config, len(source.classes)).params,
        "macs": count(config, len(source.classes)).macs,
        "finished": False,
    }
    file = folder / ABOUT
    if file.exists():
        try:
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EnvironmentFault(
                f"{file} cannot be read: {error}", "remove the folder, or give another --name"
            ) from error
        if known["job"] != about["job"]:
            other = next(key for key in about["job"] if known["job"].get(key) != about["job"][key])
            raise UsageError(
                f"models/{folder.name} was begun with another {other}",
                "give it another --name, or say what was said then",
            )
        return known
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is no model's folder", "give the model another --name")
    if world.leads:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(about, indent=2) + "\n")
    return about


def _results(progress: Progress) -> dict[str, Any]:
    return {
        "epochs": progress.epochs,
        "seconds": progress.seconds,
        "unreadable": [list(pair) for pair in sorted(progress.unreadable.items())],
    }


def _epoch(folder: Path, about: dict[str, Any], progress: Progress, world: World) -> None:
    if world.leads:
        about |= _results(progress)
        _write(folder, about, progress)


def _write(folder: Path, about: Mapping[str, Any], progress: Progress) -> None:
    write_text(folder / ABOUT, json.dumps(about, indent=2) + "\n")
    if progress.epochs:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(progress.epochs[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.epochs)
        write_text(folder / LOG, text.getvalue())
