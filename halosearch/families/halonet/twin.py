"""The narrow twin that is trained in a candidate's place: the same shape, fewer channels."""

from __future__ import annotations

from dataclasses import replace

from halosearch.families.halonet.config import ATTENTION, STAGES, HaloNetConfig


def twin_of(config: HaloNetConfig, width_multiplier: float) -> HaloNetConfig:
    """Stage, stem and final widths x `width_multiplier`, channels per head kept; s, b, h, l3, rv, rb unchanged.

    Heads never fall below one and always divide the twin's widths (a head then has fewer channels than the candidate's).

    Raises:
        UsageError: the twin's widths are not whole numbers.
    """
    base = round(config.base_width * width_multiplier)
    final = None if config.final_width is None else max(8, round(config.final_width * width_multiplier))
    heads = tuple(_heads(config, base, stage) for stage in range(STAGES))
    return replace(config.canonical(), base_width=base, final_width=final, heads=heads)  # type: ignore[arg-type]


def _heads(config: HaloNetConfig, base: int, stage: int) -> int:
    if config.stage_kinds[stage] != ATTENTION:
        return 1
    wanted = max(1, round(config.heads[stage] * base / config.base_width))
    widths = [int(ratio * base * 2**stage) for ratio in (config.query_ratio, config.value_ratio)]
    return next(heads for heads in range(wanted, 0, -1) if all(width % heads == 0 for width in widths))
