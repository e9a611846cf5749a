"""The dials that a search of HaloNets may turn: `HaloNetSpace`, and a row of them as a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from halosearch.families.halonet.config import ATTENTION, CONV, PUBLISHED_HEADS, STAGES, HaloNetConfig, heads_by_width
from halosearch.families.search_space import SearchSpace

WHOLE_MAP = "map"
"""The block size that covers the largest map: global attention."""
BY_WIDTH, AS_PUBLISHED = "width", "published"
SHORT_NAMES = {
    "s": "image_size",
    "b": "block_size",
    "h": "halo_size",
    "rv": "value_ratio",
    "rb": "expansion_ratio",
    "l3": "stage3_depth",
    "df": "final_width",
    "heads": "heads",
    "conv": "conv_stages",
}
DIALS = tuple(SHORT_NAMES.values())
MAX_PADDING_WASTE = 0.25
"""Share of extra positions that padding a map to whole blocks may cost (H7's worst stage wastes 14 %)."""


@dataclass(frozen=True)
class HaloNetSpace(SearchSpace):
    """Allowed values of every dial. `final_width` 0 is none; `block_size` may hold "map"; `conv_stages` counts from stage 1."""

    SHORT: ClassVar[Mapping[str, str]] = SHORT_NAMES
    LOWEST: ClassVar[Mapping[str, float]] = {
        "image_size": 32,
        "block_size": 1,
        "halo_size": 0,
        "value_ratio": 1 / 64,
        "expansion_ratio": 1 / 64,
        "stage3_depth": 1,
        "final_width": 0,
        "conv_stages": 0,
    }
    HIGHEST: ClassVar[Mapping[str, float]] = {"conv_stages": STAGES}
    WHOLE: ClassVar[frozenset[str]] = frozenset(LOWEST) - {"value_ratio", "expansion_ratio"}
    WORDS: ClassVar[Mapping[str, tuple[str, ...]]] = {"heads": (AS_PUBLISHED, BY_WIDTH), "block_size": (WHOLE_MAP,)}

    block_size: tuple[int | str, ...] = (*range(4, 17), WHOLE_MAP)
    halo_size: tuple[int, ...] = (0, 1, 2, 3, 4)
    value_ratio: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    expansion_ratio: tuple[float, ...] = tuple(0.5 + 0.25 * i for i in range(15))
    stage3_depth: tuple[int, ...] = tuple(range(1, 31))
    final_width: tuple[int, ...] = (0, 512, 768, 1024, 1280, 1536, 1792, 2048)
    heads: tuple[str, ...] = (AS_PUBLISHED, BY_WIDTH)
    conv_stages: tuple[int, ...] = (0, 1, 2, 3)


def stage_kinds(conv_stages: int) -> tuple[str, str, str, str]:
    """Kinds of the four stages when the first `conv_stages` are convolutional."""
    return (CONV,) * conv_stages + (ATTENTION,) * (STAGES - conv_stages)  # type: ignore[return-value]


def config_from_dials(dials: Mapping[str, Any]) -> HaloNetConfig:
    """The network that one row of a pool describes (canonical form).

    Args:
        dials: a value for every name in `DIALS`; `final_width` 0 is none, `heads` is "published" or "width".
    """
    heads = heads_by_width() if dials["heads"] == BY_WIDTH else PUBLISHED_HEADS
    return HaloNetConfig(
        image_size=int(dials["image_size"]),
        block_size=int(dials["block_size"]),
        halo_size=int(dials["halo_size"]),
        value_ratio=float(dials["value_ratio"]),
        expansion_ratio=float(dials["expansion_ratio"]),
        stage_depths=(3, 3, int(dials["stage3_depth"]), 3),
        final_width=int(dials["final_width"]) or None,
        heads=heads,
        stage_kinds=stage_kinds(int(dials["conv_stages"])),
    ).canonical()


def dials_from_config(config: HaloNetConfig) -> dict[str, Any] | None:
    """The row that describes this network, or None where the default dials cannot (other depths, kinds or widths)."""
    conv = sum(kind == CONV for kind in config.stage_kinds)
    for name, heads in ((AS_PUBLISHED, PUBLISHED_HEADS), (BY_WIDTH, heads_by_width())):
        dials = {
            "image_size": config.image_size,
            "block_size": config.block_size,
            "halo_size": config.halo_size,
            "value_ratio": config.value_ratio,
            "expansion_ratio": config.expansion_ratio,
            "stage3_depth": config.stage3_depth,
            "final_width": config.final_width or 0,
            "heads": name,
            "conv_stages": conv,
        }
        if replace(config, heads=heads).canonical() == config.canonical() == config_from_dials(dials):
            return dials
    return None
