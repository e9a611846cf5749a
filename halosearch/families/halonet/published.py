"""The published family: its members' dials, and what was published of them (`published_models.csv`).

H0-H7: arXiv:2103.12731, table 3 (dials), table 2 (heads).
"""

from __future__ import annotations

from dataclasses import replace

from halosearch.families.halonet.config import ATTENTION, CONV, HaloNetConfig, heads_by_width
from halosearch.families.published import PublishedModel, published_models


def _first_conv(stages: int) -> tuple[str, str, str, str]:
    return (CONV,) * stages + (ATTENTION,) * (4 - stages)  # type: ignore[return-value]


_DIALS = {
    "h0": (256, 8, 3, 1.0, 0.5, 7, None),
    "h1": (256, 8, 3, 1.0, 1.0, 10, None),
    "h2": (256, 8, 3, 1.0, 1.25, 11, None),
    # The table prints df = 1024 and 12.3 M parameters; df = 1024 gives 11.84 M and df = 1280 gives 12.30 M: one is a slip.
    "h3": (320, 10, 3, 1.0, 1.5, 12, 1024),
    "h4": (384, 12, 2, 1.0, 3.0, 12, 1280),
    "h5": (448, 14, 2, 2.5, 2.0, 23, 1536),
    "h6": (512, 8, 4, 3.0, 2.75, 24, 1536),
    "h7": (600, 10, 3, 4.0, 3.5, 26, 2048),
}
"""s, b, h, rv, rb, l3, df (arXiv:2103.12731, table 3)."""
FAMILY = {
    name: HaloNetConfig(s, b, h, rb, (3, 3, l3, 3), value_ratio=rv, final_width=df)
    for name, (s, b, h, rv, rb, l3, df) in _DIALS.items()
} | {
    # ResNet-50's blocks and widths, every 3x3 replaced by attention, 16 channels per head (section 4).
    "halonet50": HaloNetConfig(
        image_size=256,
        block_size=8,
        halo_size=3,
        expansion_ratio=4.0,
        stage_depths=(3, 4, 6, 3),
        heads=heads_by_width(),
    ),
}
HYBRIDS = {f"h7-c{'123'[:stages]}": replace(FAMILY["h7"], stage_kinds=_first_conv(stages)) for stages in (1, 2, 3)}
NAMED = FAMILY | HYBRIDS

_IN_TABLE = {name: name.upper() for name in _DIALS} | {"halonet50": "HaloNet-50 baseline"}
PUBLISHED = {
    name: next(row for row in published_models() if (row.family, row.model) == ("HaloNet", model))
    for name, model in _IN_TABLE.items()
}
"""What was published of the family's members."""


def published_of(config: HaloNetConfig) -> PublishedModel | None:
    """What was published of a network, None where nothing was."""
    return next((PUBLISHED[name] for name, member in NAMED.items() if member == config and name in PUBLISHED), None)
