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
from halosearch.container import cores
from halosearch.errors import EnvironmentFault, UsageError
from halosearch.families.building_blocks import Classifier, ResidualBlock
from halosearch.families.known import Config, build, candidate_text, count
from halosearch.files import write_text
from halosearch.proxy import checkpoint
from halosearch.proxy.data.pictures import Source, open_pictures
from halosearch.report.model_page import write_model
from halosearch.training.job import ModelJob, Progress
from halosearch.training.loop import ModelTrainer
from halosearch.training.recipe import ModelRecipe, recipe_of
from halosearch.training.scoring import is_bfloat16
from halosearch.training.transfer import (
    HEAD,
    INTERPOLATED,
    WEIGHTS,
    begin_from,
    classes_of,
    fingerprint_of,
    read_weights,
)
from halosearch.training.world import World

MODELS = "models"
ABOUT, CHECKPOINT, LOG = "model.json", "checkpoint.pt", "log.csv"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is asked for. `recipe`: its name; `said`: what of it was said otherwise; `init`: weights to begin from.

    `loader_workers`: None for as many as the place has room for. `chosen`: the study's trial that the candidate is, if it is one.
    """

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
    loader_workers: int | None = 0
    chosen: str = ""


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
        DivergedError: the loss was no number.
    """
    begun = begin_model(asked, world)
    folder, about = begun.folder, begun.about
    if about.get("finished"):
        return about
    if world.leads:
        for words in begun.words():
            listening.tell(words)
    readers = asked.loader_workers
    if readers is None:
        readers = 0 if device.type == "cpu" else max(1, cores() // world.size)
    trainer = ModelTrainer(
        begun.job, begun.network, begun.source, device, folder / CHECKPOINT, world, readers, listening.should_stop,
        lambda progress: _run(folder, about, progress, world, device), listening.look,
        lambda progress: _epoch(folder, about, progress, world),
    )  # fmt: skip
    progress, kept = trainer.run()
    if world.leads:
        checkpoint.save(folder / WEIGHTS, kept)
        about |= _results(progress)
        write_model(folder, about)
        _write(folder, about | {"finished": True}, progress)
        about["finished"] = True
    return about


@dataclass(frozen=True, slots=True)
class Begun:
    """A training that can go on: its folder, what is known of it, job, network with its first weights, pictures, what became of `init`."""

    folder: Path
    about: dict[str, Any]
    job: ModelJob
    network: Classifier
    source: Source
    moved: str

    def words(self) -> list[str]:
        """What a reader is told of pictures and weights."""
        found = [f"data: {self.source.description}"]
        if self.source.left_out:
            name, reason = self.source.left_out[0]
            found.append(f"{len(self.source.left_out):,} files are not used, the first: {name} ({reason})")
        return [*found, f"weights: {self.moved}"] if self.moved else found


def begin_model(asked: ModelRequest, world: World) -> Begun:
    """Understand what is asked for, and write it down where it is new.

    Raises:
        UsageError: the name is taken by a model of another network, recipe or data, or a value is out of its domain.
        EnvironmentFault: pictures, weights or optional packages are not what is needed.
    """
    folder = folder_of(asked.root, asked.name)
    config = asked.config if asked.image_size is None else replace(asked.config, image_size=asked.image_size)  # type: ignore[type-var]
    recipe = recipe_of(asked.recipe, config, dict(asked.said))
    source = open_pictures(asked.data)
    torch.manual_seed(asked.seed)
    network = build(config, len(source.classes))
    let_out(network, recipe)
    begun = moved = ""
    if asked.init is not None:
        weights = read_weights(asked.init)
        if classes_of(asked.init) not in (None, source.classes):
            weights = {name: each for name, each in weights.items() if not name.startswith(HEAD)}
        moved = begin_from(network, weights, embeddings=asked.embeddings).words()
        begun = f"{fingerprint_of(weights)}-{asked.embeddings}"
    job = ModelJob(
        candidate_text(config), config.image_size, len(source.classes), recipe, asked.seed, source.fingerprint, begun
    )
    if world.leads:
        _begin(folder, job, source, config, write=True)
    world.wait()
    about = _begin(folder, job, source, config, write=False)
    if asked.chosen:
        about["chosen"] = asked.chosen
    return Begun(folder, about, job, network, source, moved)


def let_out(network: Classifier, recipe: ModelRecipe) -> None:
    """Dropout and stochastic depth of the recipe, rising with depth."""
    network.dropout = recipe.dropout
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for place, block in enumerate(blocks):
        block.drop = recipe.stochastic_depth * (place + 1) / len(blocks)


def _begin(folder: Path, job: ModelJob, source: Source, config: Config, *, write: bool) -> dict[str, Any]:
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
        known = about_of(folder)
        job_there = known.get("job", {})
        if job_there != about["job"]:
            other = next(key for key in about["job"] if job_there.get(key) != about["job"][key])
            raise UsageError(
                f"models/{folder.name} was begun with another {other}",
                "give it another --name, or say what was said then",
            )
        return known
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is no model's folder", "give the model another --name")
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(about, indent=2) + "\n")
    return about


def about_of(folder: Path) -> dict[str, Any]:
    """What models/NAME/model.json says.

    Raises:
        EnvironmentFault: it is not there or damaged.
    """
    try:
        known: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"{folder / ABOUT} cannot be read: {error}", "remove the folder, or give another --name"
        ) from error
    return known


def _results(progress: Progress) -> dict[str, Any]:
    return {
        "epochs": progress.epochs,
        "seconds": progress.seconds,
        "unreadable": [list(pair) for pair in sorted(progress.unreadable.items())],
    }


def _run(folder: Path, about: dict[str, Any], progress: Progress, world: World, device: torch.device) -> None:
    """Note where and by whom the training is begun or gone on with; the job says nothing of it."""
    if world.leads:
        recipe = about["job"]["recipe"]
        about["runs"] = [*about.get("runs", []), {
            "from_step": progress.step, "device": str(device), "precision": "bfloat16" if is_bfloat16(device, recipe["precision"]) else "float32",
            "processes": world.size, "torch": torch.__version__, "halosearch": __version__,
        }]  # fmt: skip
        _write(folder, about, progress)


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
