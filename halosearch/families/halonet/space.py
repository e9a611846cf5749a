"""The dials a search may turn: `SearchSpace`, declared as lists of values, overridable in study.yaml."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.halonet.config import ATTENTION, CONV, PUBLISHED_HEADS, STAGES, HaloNetConfig, heads_by_width

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


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Allowed values of every dial. `final_width` 0 is none; `block_size` may hold "map"; `conv_stages` counts from stage 1.

    Raises:
        UsageError: a dial is empty or holds a value outside its domain.
    """

    image_size: tuple[int, ...] = (48, *range(64, 641, 32), 600)
    block_size: tuple[int | str, ...] = (*range(4, 17), WHOLE_MAP)
    halo_size: tuple[int, ...] = (0, 1, 2, 3, 4)
    value_ratio: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    expansion_ratio: tuple[float, ...] = tuple(0.5 + 0.25 * i for i in range(15))
    stage3_depth: tuple[int, ...] = tuple(range(1, 31))
    final_width: tuple[int, ...] = (0, 512, 768, 1024, 1280, 1536, 1792, 2048)
    heads: tuple[str, ...] = (AS_PUBLISHED, BY_WIDTH)
    conv_stages: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self) -> None:
        """Refuse values that no network can have."""
        low = {"image_size": 32, "block_size": 1, "halo_size": 0, "stage3_depth": 1, "final_width": 0, "conv_stages": 0}
        for name in DIALS:
            values = getattr(self, name)
            if not values:
                raise UsageError(
                    f"dial {name} of the search space has no value", "leave the dial out to get its default"
                )
            for value in values:
                _check_value(name, value, low.get(name))
            object.__setattr__(self, name, tuple(sorted(set(values), key=_order)))

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values (JSON, YAML) under the dials' names."""
        return {field.name: list(getattr(self, field.name)) for field in fields(self)}

    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any dial."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def with_overrides(self, overrides: dict[str, Any]) -> SearchSpace:
        """This space with some dials replaced; short names are accepted.

        Raises:
            UsageError: an unknown dial or a value outside its domain.
        """
        resolved: dict[str, Any] = {}
        for key, value in overrides.items():
            name = SHORT_NAMES.get(key, key)
            if name not in DIALS:
                close = difflib.get_close_matches(key, [*DIALS, *SHORT_NAMES], n=1)
                raise UsageError(
                    f"unknown dial {key!r} in the search space",
                    f"did you mean {close[0]!r}?" if close else f"dials are {', '.join(DIALS)}",
                )
            values = value if isinstance(value, list | tuple) else [value]
            resolved[name] = tuple(0 if name == "final_width" and v in (None, "none") else v for v in values)
        return replace(self, **resolved)


def _check_value(name: str, value: object, low: int | None) -> None:
    words = {"heads": (AS_PUBLISHED, BY_WIDTH), "block_size": (WHOLE_MAP,)}.get(name, ())
    if value in words:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "heads" or not number:
        raise UsageError(f"dial {name} does not take {value!r}", f"it takes {' or '.join(words) or 'numbers'}")
    assert isinstance(value, int | float)
    if low is not None and (value != int(value) or value < low):
        raise UsageError(f"dial {name} does not take {value!r}", f"it takes whole numbers from {low}")
    if name == "conv_stages" and value > STAGES:
        raise UsageError(f"dial conv_stages does not take {value!r}", f"it takes 0 to {STAGES}")
    if value < 0 or (value == 0 and low is None):
        raise UsageError(f"dial {name} does not take {value!r}", "it takes positive numbers")


def _order(value: object) -> tuple[int, Any]:
    return (1, value) if isinstance(value, str) else (0, value)


def stage_kinds(conv_stages: int) -> tuple[str, str, str, str]:
    """Kinds of the four stages when the first `conv_stages` are convolutional."""
    return (CONV,) * conv_stages + (ATTENTION,) * (STAGES - conv_stages)  # type: ignore[return-value]


def config_from_dials(dials: dict[str, Any]) -> HaloNetConfig:
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
