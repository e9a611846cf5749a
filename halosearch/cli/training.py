"""`halosearch train`: one short training outside a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from halosearch.cli.options import Candidate, Json, Root
from halosearch.cli.output import put, put_json, say
from halosearch.cli.signature import of_either_name


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of `train`."""

    candidate: Candidate
    json: Json = ""
    data: Annotated[str | None, typer.Option(help="Folder of images, CIFAR files, or built-in scenes.")] = None
    preset: Annotated[str | None, typer.Option(help="Price class of the training (see study).")] = None
    tier: Annotated[str | None, typer.Option("--tier", hidden=True)] = None
    images: Annotated[int | None, typer.Option(min=1, help="Images that the twin sees (default: the preset's).")] = None
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Train at this image size instead of the candidate's.")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    root: Root = Path()


def train_candidate(options: TrainOptions) -> None:
    """One short training of the twin."""
    from halosearch.cli.candidates import resolve_candidate
    from halosearch.run.train_once import OneTraining, train_once

    preset = of_either_name(options.preset, options.tier, "preset")
    config = resolve_candidate(options.candidate, options.root)
    wanted = OneTraining(config, options.data, preset, options.images, options.image_size, options.seed, options.device)
    document = train_once(wanted, say)
    if options.json:
        put_json(document)
        return
    final = document["final"]
    accuracy = ", ".join(
        f"{name} {value:.3f} (chance {final['chance'][name]:.3f})" for name, value in final["accuracy"].items()
    )
    put(
        f"score {document['score']:.4f} after {final['images_seen']:,} images ({document['data']}); accuracy: {accuracy}; "
        f"{document['images_per_s']:.0f} images/s"
    )
