"""The parts of a network: what the step-time prediction adds up."""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.families.halonet.config import ATTENTION, STAGES, HaloNetConfig
from halosearch.families.halonet.variant import AS_PUBLISHED

YARDSTICK = "stages.2.rest"
"""The anchor's part beside which every other is timed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network: its place, the input it reads (channels, side), and a key equal for equal parts."""

    name: str
    channels: int
    side: int
    key: str


def parts_of(config: HaloNetConfig) -> dict[str, Part]:
    """Every part of a network by name, as `roofline.Kernel` names them."""
    c = config.canonical()
    side = -(-c.image_size // 4)
    found = [Part("stem", 3, c.image_size, f"stem:{c.image_size}:{c.base_width}")]
    channels = c.base_width
    for stage in range(STAGES):
        expanded = int(c.expansion_ratio * c.stage_width(stage))
        shape = f"{c.stage_kinds[stage]}:{c.stage_width(stage)}:{expanded}"
        if c.stage_kinds[stage] == ATTENTION:
            shape += f":{c.block_size}:{c.halo_size}:{c.query_ratio}:{c.value_ratio}:{c.heads[stage]}"
        if c.variant != AS_PUBLISHED:
            shape += f":{c.variant}"
        stride = 2 if stage else 1
        found.append(Part(f"stages.{stage}.0", channels, side, f"{shape}:{side}:{channels}:{stride}"))
        side, channels = -(-side // stride), expanded
        if c.stage_depths[stage] > 1:
            found.append(Part(f"stages.{stage}.rest", channels, side, f"{shape}:{side}:{channels}:1"))
    found.append(Part("head", channels, side, f"head:{channels}:{side}:{c.final_width}"))
    return {part.name: part for part in found}
