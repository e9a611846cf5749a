"""ResNets as text: `resnet-50`, `resnet-50:s=256,se=yes,act=silu`, `resnet:depths=3-4-6-3`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.named_values import named_values, whole
from halosearch.families.resnet.config import STAGES, ResNetConfig

NAME = "resnet"
KEYS = ("depths", "s", "se", "act", "w")
EXAMPLE = "resnet:depths=3-4-6-3,s=224,se=yes,act=silu"
MEMBERS = {
    "50": ResNetConfig((3, 4, 6, 3)),
    "101": ResNetConfig((3, 4, 23, 3)),
    "152": ResNetConfig((3, 8, 36, 3)),
}
"""Depths of arXiv:1512.03385, table 1, at 224 pixels."""
_YES_OR_NO = {"yes": True, "no": False}


def parse(text: str) -> ResNetConfig:
    """The network that a member's name or its depths describe.

    Raises:
        UsageError: no such member, or values that are unknown, missing or malformed.
    """
    name, values = named_values(text, KEYS, EXAMPLE)
    member = name.removeprefix(NAME).removeprefix("-")
    if member and member not in MEMBERS:
        raise UsageError(
            f"there is no {name}", f"members are {', '.join(f'{NAME}-{m}' for m in MEMBERS)}; or {EXAMPLE}"
        )
    if not member and "depths" not in values:
        raise UsageError(f"{NAME} needs depths", f"for example {EXAMPLE}")
    given: dict[str, Any] = {}
    if "depths" in values:
        given["depths"] = _depths(values["depths"])
    for key, field in (("s", "image_size"), ("w", "base_width")):
        if key in values:
            given[field] = whole(key, values[key], EXAMPLE)
    if "se" in values:
        if values["se"] not in _YES_OR_NO:
            raise UsageError(f"se does not take {values['se']!r}", "it takes yes or no")
        given["squeeze_excite"] = _YES_OR_NO[values["se"]]
    if "act" in values:
        given["activation"] = values["act"]
    return replace(MEMBERS[member], **given) if member else ResNetConfig(**given)


def _depths(value: str) -> tuple[int, ...]:
    parts = value.split("-")
    if len(parts) != STAGES:
        raise UsageError(f"depths does not take {value!r}", "it takes four numbers: depths=3-4-6-3")
    return tuple(whole("depths", part, "depths=3-4-6-3") for part in parts)


def text(config: ResNetConfig) -> str:
    """In the notation that `parse` reads; by name where its depths have one."""
    name = next((name for name, member in MEMBERS.items() if member.depths == config.depths), None)
    known = ResNetConfig(config.depths)
    values = [
        f"{key}={value}"
        for key, value, plain in (
            ("s", config.image_size, known.image_size),
            ("se", "yes" if config.squeeze_excite else "no", "no"),
            ("act", config.activation, known.activation),
            ("w", config.base_width, known.base_width),
        )
        if value != plain
    ]
    if name is None:
        values.insert(0, f"depths={'-'.join(map(str, config.depths))}")
    return ":".join(filter(None, [NAME if name is None else f"{NAME}-{name}", ",".join(values)]))
