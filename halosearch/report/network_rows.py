"""A network as a reader sees it: stages with their maps and windows, and where its parameters, MACs and step time go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from halosearch.families.halonet.config import ATTENTION, HaloNetConfig
from halosearch.families.known import Config, family_of, layers_of
from halosearch.families.layers import IMAGENET_CLASSES


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """A stage, the stem or the head.

    `side`: positions a side of its map; `channels`: what goes out; `window`: positions a side that one position may attend to, None
    where nothing attends; `params`, `macs`, `step_time`: shares of the whole network, the last None where its parts were not timed.
    """

    name: str
    kind: str
    blocks: int
    side: int
    channels: int
    window: int | None
    params: float
    macs: float
    step_time: float | None


def network_rows(
    config: Config, timed: Iterable[Mapping[str, Any]] = (), classes: int = IMAGENET_CLASSES
) -> list[NetworkRow]:
    """Rows in the order of the forward pass, `timed` being the parts of a trial's step as the record has them."""
    stages = {f"stages.{stage['stage'] - 1}": stage for stage in family_of(config).stages(config)}
    params, macs, sides = dict[str, int](), dict[str, int](), dict[str, tuple[int, int]]()
    for layer in layers_of(config, classes):
        if not int(layer.repeat):
            continue
        place = _place(layer.block)
        params[place] = params.get(place, 0) + int(layer.repeat) * int(layer.cost.params)
        macs[place] = macs.get(place, 0) + int(layer.repeat) * int(layer.cost.macs)
        sides[place] = (int(layer.side), int(layer.channels))
    times = _times(config, timed)
    rows = []
    for place in (each for each in params if params[each] or macs[each]):
        stage = stages.get(place, {})
        side, channels = int(stage.get("side", sides[place][0])), int(stage.get("channels", sides[place][1]))
        rows.append(
            NetworkRow(
                f"stage {stage['stage']}" if stage else place,
                stage.get("kind", "conv") if stage else place,
                int(stage.get("blocks", 1)),
                side,
                channels,
                _window(config, stage, side),
                params[place] / sum(params.values()),
                macs[place] / sum(macs.values()),
                times.get(place) if times else None,
            )
        )
    return rows


def rows_as_values(rows: Iterable[NetworkRow]) -> list[dict[str, Any]]:
    """The rows as plain JSON values, shares to four digits."""
    return [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows]


def _place(block: str) -> str:
    """The stage of a block: stages.2.rest is of stages.2."""
    return ".".join(block.split(".")[:2]) if block.startswith("stages.") else block


def _window(config: Config, stage: Mapping[str, Any], side: int) -> int | None:
    if not isinstance(config, HaloNetConfig) or stage.get("kind") != ATTENTION:
        return None
    return min(side, config.canonical().block_size + 2 * config.canonical().halo_size)


def _times(config: Any, timed: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Share of the step that each place takes: its parts' times, those of equal blocks as often as they occur. Only HaloNets are so timed."""
    found = dict[str, float]()
    for part in timed:
        place = _place(part["name"])
        stage = int(place.partition(".")[2]) if place.startswith("stages.") else None
        repeat = config.stage_depths[stage] - 1 if stage is not None and part["name"].endswith(".rest") else 1
        found[place] = found.get(place, 0.0) + repeat * float(part["share"])
    return {place: value / sum(found.values()) for place, value in found.items()}
