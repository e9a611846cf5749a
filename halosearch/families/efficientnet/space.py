"""The dials that a search of EfficientNets may turn: width and depth coefficients, and the image size."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from halosearch.families.efficientnet.config import EfficientNetConfig
from halosearch.families.efficientnet.notation import MEMBERS
from halosearch.families.search_space import SearchSpace

SHORT_NAMES = {"s": "image_size", "w": "width", "d": "depth"}


@dataclass(frozen=True)
class EfficientNetSpace(SearchSpace):
    """Allowed values of every dial; by default depths that all build different networks (`ceil` of one to four blocks times depth)."""

    SHORT: ClassVar[Mapping[str, str]] = SHORT_NAMES
    LOWEST: ClassVar[Mapping[str, float]] = {"image_size": 32, "width": 0.1, "depth": 0.1}
    HIGHEST: ClassVar[Mapping[str, float]] = {"width": 20, "depth": 20}

    width: tuple[float, ...] = tuple(round(0.3 + 0.05 * i, 2) for i in range(45))
    depth: tuple[float, ...] = tuple(
        round(whole + part, 1)
        for whole in range(5)
        for part in (0.1, 0.3, 0.4, 0.6, 0.7, 0.8)  # up to 1/4, 1/3, 1/2, 2/3, 3/4 and 1 beyond a whole number
    )


def config_from_dials(dials: Mapping[str, Any]) -> EfficientNetConfig:
    """The network of a row; where a published member's coefficients build the same, with those."""
    found = EfficientNetConfig(float(dials["width"]), float(dials["depth"]), int(dials["image_size"]))
    member = _members().get(_shape(found))
    return found if member is None else replace(member, image_size=found.image_size)


@functools.cache
def _members() -> dict[tuple[Any, ...], EfficientNetConfig]:
    """The published members by what is built of them."""
    return {_shape(member): member for member in MEMBERS.values()}


def _shape(config: EfficientNetConfig) -> tuple[Any, ...]:
    return config.stem_width, config.stages(), config.final_width


def dials_from_config(config: EfficientNetConfig) -> dict[str, Any] | None:
    """The row of a network; None for one that was narrowed."""
    if config.narrowed != 1:
        return None
    return {"image_size": config.image_size, "width": config.width, "depth": config.depth}
