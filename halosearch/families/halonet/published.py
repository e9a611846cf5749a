"""The published family and its rivals' budgets, each number with its source.

H0-H7: arXiv:2103.12731, table 3 (dials, parameters in millions), table 2 (heads). Top-1 of H7 is printed there; those of
H0-H6 appear only inside a figure and are read from a third-party list (secondary source).
EfficientNet: arXiv:1905.11946, table 2 (parameters to one decimal, image size, multiply-adds).
"""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.families.halonet.config import ATTENTION, CONV, HaloNetConfig, heads_by_width

PAPER = "arXiv:2103.12731"
SECONDARY = "keras_cv_attention_models README at 943b82e (secondary: the paper prints these only inside a figure)"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published of one network: parameters in millions, ImageNet top-1 in percent, the source of each."""

    params_m: float
    params_source: str
    top1_percent: float | None
    top1_source: str


@dataclass(frozen=True, slots=True)
class Budget:
    """A rival's cost: parameters in millions as exactly as published, MACs in billions, pixels a side, top-1 in percent."""

    params_m: float
    macs_g: float
    image_size: int
    top1_percent: float
    source: str


def _h(s: int, b: int, h: int, rv: float, rb: float, l3: int, df: int | None = None) -> HaloNetConfig:
    return HaloNetConfig(
        image_size=s,
        block_size=b,
        halo_size=h,
        value_ratio=rv,
        expansion_ratio=rb,
        stage_depths=(3, 3, l3, 3),
        final_width=df,
    )


def _first_conv(stages: int) -> tuple[str, str, str, str]:
    return (CONV,) * stages + (ATTENTION,) * (4 - stages)  # type: ignore[return-value]


FAMILY = {
    "h0": _h(256, 8, 3, 1.0, 0.5, 7),
    "h1": _h(256, 8, 3, 1.0, 1.0, 10),
    "h2": _h(256, 8, 3, 1.0, 1.25, 11),
    # The table prints df = 1024 and 12.3 M parameters; df = 1024 gives 11.84 M and df = 1280 gives 12.30 M: one is a slip.
    "h3": _h(320, 10, 3, 1.0, 1.5, 12, 1024),
    "h4": _h(384, 12, 2, 1.0, 3.0, 12, 1280),
    "h5": _h(448, 14, 2, 2.5, 2.0, 23, 1536),
    "h6": _h(512, 8, 4, 3.0, 2.75, 24, 1536),
    "h7": _h(600, 10, 3, 4.0, 3.5, 26, 2048),
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
HYBRIDS = {
    f"h7-c{'123'[:stages]}": HaloNetConfig(
        image_size=600,
        block_size=10,
        halo_size=3,
        value_ratio=4.0,
        expansion_ratio=3.5,
        stage_depths=(3, 3, 26, 3),
        final_width=2048,
        stage_kinds=_first_conv(stages),
    )
    for stages in (1, 2, 3)
}
NAMED = FAMILY | HYBRIDS

PUBLISHED = {
    "h0": Published(5.5, PAPER, 77.9, SECONDARY),
    "h1": Published(8.1, PAPER, 79.9, SECONDARY),
    "h2": Published(9.4, PAPER, 80.4, SECONDARY),
    "h3": Published(12.3, PAPER, 81.9, SECONDARY),
    "h4": Published(19.1, PAPER, 83.3, SECONDARY),
    "h5": Published(30.7, PAPER, 84.0, SECONDARY),
    "h6": Published(43.4, PAPER, 84.4, SECONDARY),
    "h7": Published(67.0, PAPER, 84.9, PAPER),
    "halonet50": Published(18.0, PAPER, 78.6, PAPER),
}
_EFFICIENTNET = (
    "arXiv:1905.11946 table 2 (size, MACs); tensorflow/tpu EfficientNet README (AutoAugment top-1, secondary)"
)
EFFICIENTNETS = {
    "b0": Budget(5.29, 0.39, 224, 77.1, _EFFICIENTNET),
    "b1": Budget(7.79, 0.70, 240, 79.1, _EFFICIENTNET),
    "b2": Budget(9.11, 1.0, 260, 80.1, _EFFICIENTNET),
    "b3": Budget(12.23, 1.8, 300, 81.6, _EFFICIENTNET),
    "b4": Budget(19.34, 4.2, 380, 82.9, _EFFICIENTNET),
    "b5": Budget(30.39, 9.9, 456, 83.6, _EFFICIENTNET),
    "b6": Budget(43.04, 19.0, 528, 84.0, _EFFICIENTNET),
    "b7": Budget(66.35, 37.0, 600, 84.3, _EFFICIENTNET),
}
