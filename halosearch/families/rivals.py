"""Networks of other families that are trained beside a study's candidates: which, and at which image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.known import HALONET, candidate_text, family_of, nearest_member, parse_candidate, search_of

NEAREST, NONE = "nearest", "none"
OPPOSITE = "efficientnet"
"""Whose nearest member stands beside HaloNets; beside every other family it is the nearest HaloNet."""


def nearest_rival(family: str, params: int) -> str:
    """The published member of the other side whose parameters are nearest to a budget, by ratio."""
    search = search_of(OPPOSITE if family == HALONET else HALONET)
    return candidate_text(search.published[nearest_member(search, params)])


def rivals_of(words: Sequence[str], family: str, params: int, sizes: Sequence[int]) -> tuple[str, ...]:
    """The rivals of a study of `family` in their notation, none twice; `nearest` is the other side's member nearest to the budget.

    A rival that reads larger or smaller images than any candidate reads the study's largest or smallest instead, as the reference
    model does: what the study compares is trained on images of its own sizes.

    Raises:
        UsageError: what is no network, or one of the study's own family, which is no rival.
    """
    if list(words) == [NONE]:
        return ()
    found = []
    for word in words:
        config: Any = parse_candidate(nearest_rival(family, params) if word == NEAREST else word)
        own = family_of(config).name
        if own == family:
            raise UsageError(
                f"{word} is of the family {own} itself, and rivals are of other families",
                f"--rivals nearest, none, or {nearest_rival(family, params)}",
            )
        size = min(max(config.image_size, min(sizes)), max(sizes))
        found.append(candidate_text(replace(config, image_size=size)))
    return tuple(dict.fromkeys(found))
