"""Networks of other families that are trained beside a study's candidates: which, and at which image size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.efficientnet.notation import MEMBERS
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.known import candidate_text, count, parse_candidate

NEAREST, NONE = "nearest", "none"


def nearest_rival(params: int) -> str:
    """The EfficientNet whose parameters are nearest to a budget, by ratio."""
    found = min(MEMBERS.values(), key=lambda config: abs(math.log(count(config).params / params)))
    return candidate_text(found)


def rivals_of(words: Sequence[str], params: int, sizes: Sequence[int]) -> tuple[str, ...]:
    """The rivals of a study in their notation, none twice; `nearest` is the EfficientNet nearest to the budget.

    A rival that reads larger or smaller images than any candidate reads the study's largest or smallest instead, as the reference
    model does: what the study compares is trained on images of its own sizes.

    Raises:
        UsageError: what is no network, or a HaloNet, which is no rival.
    """
    if list(words) == [NONE]:
        return ()
    found = []
    for word in words:
        config: Any = parse_candidate(nearest_rival(params) if word == NEAREST else word)
        if isinstance(config, HaloNetConfig):
            raise UsageError(
                f"{word} is a HaloNet, and rivals are of other families", "--rivals nearest, none, or efficientnet-b0"
            )
        size = min(max(config.image_size, min(sizes)), max(sizes))
        found.append(candidate_text(replace(config, image_size=size)))
    return tuple(dict.fromkeys(found))
