"""How a network is trained in full: the paper's recipe, and a shorter one for small data, as frozen numbers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from halosearch.errors import UsageError
from halosearch.families.known import Config, candidate_text, parse_candidate
from halosearch.spec.presets import Frozen

SGD, ADAMW = "sgd", "adamw"
PAPER, SHORT = "paper", "short"
RANDAUGMENT = {"h0": 6, "h1": 8, "h2": 10, "h3": 14, "h4": 17, "h5": 19, "h6": 24, "h7": 31}
"""Magnitudes by model (arXiv:2103.12731, appendix)."""
WARM_SHARE = 0.2
"""Share of a training that warm-up takes at most, where its length was not said."""
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelRecipe(Frozen):
    """Numbers of a full training.

    `learning_rate` is the peak, for `batch` images a step (the sum over processes and `accumulate` parts); it rises linearly over
    `warmup_epochs` and falls by a cosine to `final_rate` times the peak. `crop`: least share of a picture that a training crop keeps.
    `randaugment`: magnitude of 31, 0 for none. `mixup`, `cutmix`: their Beta parameter, 0 for none. `stochastic_depth`: share of images whose
    last branch is left out, less for earlier ones. `ema`: decay by step of the averaged weights, 0 for none. `test_crop`: share of the
    shorter side that is looked at when scoring. `layer_decay`: factor on the rate from each stage to the one before. `frozen`: so many
    stages, with the stem, are not trained. `clip`: largest norm of a gradient, 0 for any.
    """

    name: str = SHORT
    epochs: Annotated[int, Field(ge=1)] = 30
    batch: Annotated[int, Field(ge=2)] = 128
    accumulate: Annotated[int, Field(ge=1)] = 1
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 2e-3
    momentum: Share = 0.9
    weight_decay: NotNegative = 0.05
    warmup_epochs: NotNegative = 2
    final_rate: Share = 0.01
    label_smoothing: Share = 0.1
    crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    flip: bool = True
    randaugment: Annotated[int, Field(ge=0, le=31)] = 0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    stochastic_depth: Share = 0.0
    dropout: Share = 0.0
    ema: Share = 0.998
    clip: NotNegative = 1.0
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    frozen: Annotated[int, Field(ge=0, le=7)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """Share of the peak rate at a step."""
        warm, total = round(self.warmup_epochs * steps_per_epoch), self.epochs * steps_per_epoch
        if step < warm:
            return (step + 1) / warm
        through = (step - warm) / max(1, total - warm)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, through)))


def recipe_of(name: str, config: Config, said: dict[str, Any]) -> ModelRecipe:
    """A named recipe with what was said of it. The paper's rate belongs to its batch: another batch scales it, as the paper did.

    Raises:
        UsageError: there is no such recipe, or a value is out of its domain.
    """
    if name not in (PAPER, SHORT):
        raise UsageError(f"there is no recipe {name!r}", f"recipes are {PAPER} and {SHORT}")
    values: dict[str, Any] = {"name": name}
    if name == PAPER:
        values |= {"epochs": 350, "batch": 4096, "optimizer": SGD, "weight_decay": 2e-5, "warmup_epochs": 10, "final_rate": 1 / 128,
                   "crop": 0.08, "randaugment": _magnitude(config), "ema": 0.0, "clip": 0.0, "test_crop": 0.875}  # fmt: skip
    known = {key: value for key, value in said.items() if value is not None}
    found = values | known
    if "learning_rate" not in known:
        batch = found.get("batch", ModelRecipe.model_fields["batch"].default)
        if found.get("optimizer", ADAMW) == SGD:
            found["learning_rate"] = 0.1 * batch / 256
        else:
            found["learning_rate"] = 2e-3 * math.sqrt(batch / 128)
    fields = ModelRecipe.model_fields
    epochs, warm = (float(found.get(key, fields[key].default)) for key in ("epochs", "warmup_epochs"))
    if "warmup_epochs" not in known:
        found["warmup_epochs"] = min(warm, WARM_SHARE * epochs)
    elif warm >= epochs:
        raise UsageError(f"{warm:g} epochs of warm-up leave nothing of {epochs:g}", "a shorter --warmup-epochs")
    try:
        return ModelRecipe.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"{flag} cannot be {first['input']!r}: {first['msg']}", "see docs/training.md") from error


def _magnitude(config: Config) -> int:
    """RandAugment's magnitude of the published model that this is, or of the one nearest in parameters."""
    from halosearch.families.known import HALONET, nearest_member, search_of
    from halosearch.families.known import count as count_of

    for name, magnitude in RANDAUGMENT.items():
        if candidate_text(parse_candidate(name)) == candidate_text(config):
            return magnitude
    return RANDAUGMENT[nearest_member(search_of(HALONET), count_of(config).params)]
