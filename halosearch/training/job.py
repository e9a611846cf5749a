"""What a full training is, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halosearch.training.recipe import ModelRecipe


class StoppedError(Exception):
    """Training was asked to stop; its checkpoint is written."""


class DivergedError(Exception):
    """The loss is no longer a number; `hint` is the way out."""

    hint = "a lower --learning-rate, or a longer --warmup-epochs, under another --name"


@dataclass(frozen=True, slots=True)
class ModelJob:
    """What is trained: the network of `candidate` at `image_size`, by a recipe, with a seed, begun from `init` (a fingerprint, or "")."""

    candidate: str
    image_size: int
    classes: int
    recipe: ModelRecipe
    seed: int
    data: str
    init: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values: a checkpoint of another job is not gone on with."""
        return {
            "candidate": self.candidate,
            "image_size": self.image_size,
            "classes": self.classes,
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "data": self.data,
            "init": self.init,
        }


@dataclass(slots=True)
class Progress:
    """Where a training stands; plain values, saved with the weights. `epochs`: a row for each that ended."""

    step: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    unreadable: dict[str, str] = field(default_factory=dict)
