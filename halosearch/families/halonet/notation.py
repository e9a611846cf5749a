"""Candidates as text: `h0`, or dials such as `s=384,b=12,h=2,rv=1,rb=3,l3=12,df=1280`."""

from __future__ import annotations

import difflib
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.halonet.config import ATTENTION, CONV, PUBLISHED_HEADS, HaloNetConfig, halve, heads_by_width
from halosearch.families.halonet.published import NAMED
from halosearch.families.halonet.space import AS_PUBLISHED, BY_WIDTH, SHORT_NAMES, WHOLE_MAP, stage_kinds
from halosearch.families.halonet.variant import AS_PUBLISHED as AS_PUBLISHED_VARIANT
from halosearch.families.halonet.variant import Variant

REQUIRED = ("s", "b", "h", "rb", "l3")
LONG = {name: short for short, name in SHORT_NAMES.items()} | {
    "query_ratio": "rqk",
    "base_width": "w",
    "stage_depths": "depths",
    "stage_kinds": "kinds",
    "downsampling": "down",
    "positions": "pos",
    "activation": "act",
    "squeeze_excite": "se",
}
KEYS = (*LONG.values(), "mask")
_YES_OR_NO = {"yes": True, "no": False, True: True, False: False}
"""YAML reads yes and no as truth values."""
EXAMPLE = "s=384,b=12,h=2,rv=1,rb=3,l3=12,df=1280"


def parse_candidate(text: str) -> HaloNetConfig:
    """The network that a name or a list of dials describes.

    Dials: s b h rb l3 (needed), rv (1), df (none), heads (published; width; or 4-8-8-8), conv (0; convolutional stages from
    the first) or kinds (caaa), depths (3-3-l3-3; replaces l3), rqk (1), w (64). `b=map` is global attention. Of the variant: mask
    (none; or 7), down (strided, pooled), pos (relative, absolute, none), act (silu, relu), se (no, yes).

    Raises:
        UsageError: an unknown name or dial, a missing or malformed value.
    """
    if "=" not in text:
        try:
            return NAMED[text.strip().lower()]
        except KeyError:
            close = difflib.get_close_matches(text.lower(), NAMED, n=1)
            raise UsageError(
                f"there is no candidate called {text!r}",
                f"did you mean {close[0]!r}?" if close else f"use h0 to h7, or dials: {EXAMPLE}",
            ) from None
    pairs = [_pair(part) for part in text.split(",") if part.strip()]
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UsageError(f"dial {twice!r} is given twice", "give each dial once")
    return candidate_from_values(dict(pairs))


def _pair(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not value.strip():
        raise UsageError(f"dial {part.strip()!r} has no value", f"for example {EXAMPLE}")
    return key.strip(), value.strip()


def candidate_from_values(values: dict[str, Any]) -> HaloNetConfig:
    """As `parse_candidate`, from a mapping (a YAML file of dials); short and long names are both known."""
    dials: dict[str, Any] = {}
    for key, value in values.items():
        short = LONG.get(key, key)
        if short not in KEYS:
            close = difflib.get_close_matches(key, [*KEYS, *LONG], n=1)
            raise UsageError(
                f"unknown dial {key!r}", f"did you mean {close[0]!r}?" if close else f"dials are {', '.join(KEYS)}"
            )
        if short in dials:
            raise UsageError(f"dial {key!r} is given twice", "give each dial once")
        dials[short] = value
    missing = [key for key in REQUIRED if key not in dials and not (key == "l3" and "depths" in dials)]
    if missing:
        raise UsageError(f"dial {missing[0]!r} is missing", f"for example {EXAMPLE}")
    return _build(dials)


def _build(dials: dict[str, Any]) -> HaloNetConfig:
    size, base = _whole("s", dials["s"]), _whole("w", dials.get("w", 64))
    depths = _four("depths", dials["depths"]) if "depths" in dials else (3, 3, _whole("l3", dials["l3"]), 3)
    kinds = (
        _kinds(dials["kinds"])
        if "kinds" in dials
        else stage_kinds(_between("conv", _whole("conv", dials.get("conv", 0)), 0, 4))
    )
    block = halve(halve(size)) if dials["b"] == WHOLE_MAP else _whole("b", dials["b"])
    return HaloNetConfig(
        image_size=size,
        block_size=block,
        halo_size=_whole("h", dials["h"]),
        value_ratio=_number("rv", dials.get("rv", 1)),
        expansion_ratio=_number("rb", dials["rb"]),
        stage_depths=depths,
        final_width=_final(dials.get("df")),
        heads=_heads(dials.get("heads", AS_PUBLISHED), base),
        stage_kinds=kinds,
        query_ratio=_number("rqk", dials.get("rqk", 1)),
        base_width=base,
        variant=_variant(dials),
    )


def _variant(dials: dict[str, Any]) -> Variant:
    mask, gates = dials.get("mask", "none"), dials.get("se", "no")
    if gates not in _YES_OR_NO:
        raise UsageError(f"dial se does not take {gates!r}", "it takes yes or no")
    return Variant(
        mask=None if mask in (None, "none") else _whole("mask", mask),
        downsampling=str(dials.get("down", AS_PUBLISHED_VARIANT.downsampling)),
        positions=str(dials.get("pos", AS_PUBLISHED_VARIANT.positions)),
        activation=str(dials.get("act", AS_PUBLISHED_VARIANT.activation)),
        squeeze_excite=_YES_OR_NO[gates],
    )


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"dial {key} does not take {value!r}", f"it takes a number, for example {EXAMPLE}") from None
    if not 0 < number < 1e6:
        raise UsageError(f"dial {key} does not take {value!r}", "it takes a positive number")
    return number


def _whole(key: str, value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number != number or number < 0 or number > 1e6 or number != int(number):
        raise UsageError(f"dial {key} does not take {value!r}", f"it takes a whole number, for example {EXAMPLE}")
    return int(number)


def _between(key: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise UsageError(f"dial {key} does not take {value}", f"it takes {low} to {high}")
    return value


def _final(value: Any) -> int | None:
    return None if value in (None, "none", "None", "", "-", 0, "0") else _whole("df", value)


def _four(key: str, value: Any) -> tuple[int, int, int, int]:
    parts = value.split("-") if isinstance(value, str) else list(value)
    if len(parts) != 4:
        raise UsageError(f"dial {key} does not take {value!r}", f"it takes four numbers: {key}=4-8-8-8")
    return tuple(_whole(key, part) for part in parts)  # type: ignore[return-value]


def _heads(value: Any, base: int) -> tuple[int, int, int, int]:
    if value == BY_WIDTH:
        return heads_by_width(base)
    return PUBLISHED_HEADS if value == AS_PUBLISHED else _four("heads", value)


def _kinds(value: Any) -> tuple[str, str, str, str]:
    letters = {"a": ATTENTION, "c": CONV, ATTENTION: ATTENTION, CONV: CONV}
    parts = list(value)
    if len(parts) != 4 or any(part not in letters for part in parts):
        raise UsageError(
            f"dial kinds does not take {value!r}", "it takes four letters, a (attention) or c (conv): kinds=caaa"
        )
    return tuple(letters[part] for part in parts)  # type: ignore[return-value]


def candidate_text(config: HaloNetConfig) -> str:
    """The dials of a network in the notation that `parse_candidate` reads."""
    parts = [
        f"s={config.image_size}",
        f"b={config.block_size}",
        f"h={config.halo_size}",
        f"rv={config.value_ratio:g}",
        f"rb={config.expansion_ratio:g}",
    ]
    d = config.stage_depths
    parts.append(f"l3={d[2]}" if (d[0], d[1], d[3]) == (3, 3, 3) else f"depths={'-'.join(map(str, d))}")
    if config.final_width:
        parts.append(f"df={config.final_width}")
    if config.heads != PUBLISHED_HEADS:
        parts.append(f"heads={'-'.join(map(str, config.heads))}")
    conv = sum(kind == CONV for kind in config.stage_kinds)
    if conv:
        parts.append(
            f"conv={conv}"
            if config.stage_kinds == stage_kinds(conv)
            else f"kinds={''.join(k[0] for k in config.stage_kinds)}"
        )
    if config.query_ratio != 1:
        parts.append(f"rqk={config.query_ratio:g}")
    if config.base_width != 64:
        parts.append(f"w={config.base_width}")
    v, plain = config.variant, AS_PUBLISHED_VARIANT
    for key, value, usual in (
        ("mask", v.mask, plain.mask),
        ("down", v.downsampling, plain.downsampling),
        ("pos", v.positions, plain.positions),
        ("act", v.activation, plain.activation),
        ("se", "yes" if v.squeeze_excite else "no", "no"),
    ):
        if value != usual:
            parts.append(f"{key}={value}")
    return ",".join(parts)
