"""EfficientNets as text: `efficientnet-b4`, `efficientnet-b4:s=96`, `efficientnet:w=1.4,d=1.8,s=380`."""

from __future__ import annotations

from dataclasses import replace

from halosearch.errors import UsageError
from halosearch.families.efficientnet.config import EfficientNetConfig
from halosearch.families.named_values import named_values, number, whole

NAME = "efficientnet"
KEYS = ("w", "d", "s", "narrowed")
EXAMPLE = "efficientnet:w=1.4,d=1.8,s=380"
MEMBERS = {
    f"b{index}": EfficientNetConfig(*numbers)
    for index, numbers in enumerate(
        [
            (1.0, 1.0, 224),
            (1.0, 1.1, 240),
            (1.1, 1.2, 260),
            (1.2, 1.4, 300),
            (1.4, 1.8, 380),
            (1.6, 2.2, 456),
            (1.8, 2.6, 528),
            (2.0, 3.1, 600),
        ]
    )
}
"""Width and depth coefficients and image sizes of B0 to B7, from the authors' code (github.com/tensorflow/tpu, efficientnet)."""


def parse(text: str) -> EfficientNetConfig:
    """The network that a member's name, or width, depth and image size, describe.

    Raises:
        UsageError: no such member, or values that are unknown, missing or malformed.
    """
    name, values = named_values(text, KEYS, EXAMPLE)
    member = name.removeprefix(NAME).removeprefix("-")
    if member and member not in MEMBERS:
        raise UsageError(f"there is no {name}", f"members are {NAME}-b0 to {NAME}-b7; or {EXAMPLE}")
    missing = [key for key in KEYS[:3] if not member and key not in values]
    if missing:
        raise UsageError(f"{NAME} needs {', '.join(missing)}", f"for example {EXAMPLE}")
    given = {
        field: number(key, values[key], EXAMPLE)
        for key, field in (("w", "width"), ("d", "depth"), ("narrowed", "narrowed"))
        if key in values
    }
    size = {"image_size": whole("s", values["s"], EXAMPLE)} if "s" in values else {}
    return replace(MEMBERS[member], **given, **size) if member else EfficientNetConfig(**given, **size)  # type: ignore[arg-type]


def text(config: EfficientNetConfig) -> str:
    """In the notation that `parse` reads; by name where it has one."""
    name, known = next(
        ((f"{NAME}-{name}", m) for name, m in MEMBERS.items() if (m.width, m.depth) == (config.width, config.depth)),
        (NAME, None),
    )
    values = [f"s={config.image_size}"] if known is None or known.image_size != config.image_size else []
    values += [f"narrowed={config.narrowed:g}"] if config.narrowed != 1 else []
    if known is None:
        values = [f"w={config.width:g}", f"d={config.depth:g}", *values]
    return ":".join(filter(None, [name, ",".join(values)]))
