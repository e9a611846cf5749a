"""What the clock can time: candidates, and models of the optional package timm beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import nn

from halosearch.errors import UsageError
from halosearch.families.foreign import import_optional
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.known import Config, build

TIMM = "timm:"
CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to time: images of 3 x `image_size` x `image_size` in, 1,000 classes out; its config where it has one."""

    image_size: int
    build: Callable[[], nn.Module]
    config: HaloNetConfig | None = None


def subject_of(config: Config) -> Subject:
    """A candidate of any family, with the attention backend that its device has; parts and floors are known of HaloNets."""
    own = config if isinstance(config, HaloNetConfig) else None
    return Subject(config.image_size, lambda: build(config, CLASSES), own)


def is_timm(text: str) -> bool:
    """Whether a text names a model of timm (`timm:NAME[@SIZE]`)."""
    return text.startswith(TIMM)


def timm_subject(text: str) -> Subject:
    """A model of timm without its weights.

    Raises:
        EnvironmentFault: timm is not installed or cannot be imported.
        UsageError: timm has no such model.
    """
    name, _, size = text.removeprefix(TIMM).partition("@")
    timm = import_timm()
    if not timm.is_model(name):
        raise UsageError(f"timm {timm.__version__} has no model {name!r}", "see timm.list_models()")
    if size and not (size.isdecimal() and int(size)):
        raise UsageError(f"{text!r}: the image size after @ is a whole number", f"{TIMM}{name}@224")
    side = int(size) if size else timm.create_model(name).default_cfg["input_size"][-1]

    def build() -> nn.Module:
        model: nn.Module = timm.create_model(name, num_classes=CLASSES)
        return model

    _refuse_other_sizes(build(), side, text)
    return Subject(side, build)


def _refuse_other_sizes(model: nn.Module, side: int, text: str) -> None:
    """Some models of timm run at their own image size only."""
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f"{text} does not run on {side}-pixel images: {str(error).splitlines()[0]}", "leave @SIZE out"
        ) from error


def import_timm() -> ModuleType:
    """The optional package timm, also where its dependency torchvision was built for another torch.

    Raises:
        EnvironmentFault: timm is not installed or cannot be imported.
    """
    return import_optional("timm")
