"""A star: one dial at a time varied around a centre, every value trained at several lengths. What moves with compute is read off it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halosearch.analysis.shape_law import LEAST_COMPUTES, LEAST_VALUES
from halosearch.errors import UsageError
from halosearch.families.known import HALONET, count, parse_candidate
from halosearch.record.folders import Folders
from halosearch.run.begin import ResolveDevice
from halosearch.run.experiments import study_of
from halosearch.run.ladders import free_folders, preset_of_lengths
from halosearch.spec.experiment import Experiment
from halosearch.spec.star import EXAMPLE, star_arms, varied
from halosearch.spec.study import StudySpec, preset_space


@dataclass(frozen=True, slots=True)
class StarRequest:
    """A new star: its centre, the values of every varied field as text, lengths in images, seeds of each arm."""

    name: str
    root: Path
    centre: str
    vary: Sequence[str]
    images: tuple[int, ...]
    seeds: int
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of the study: preset, data, seed, workers, device, max_time_s."""


def new_star(asked: StarRequest, resolve_device: ResolveDevice) -> tuple[StudySpec, Folders]:
    """The spec of a star that is not there yet.

    Raises:
        UsageError: a value that is not understood, too few values or lengths for a law, or a study of that name.
    """
    said = {k: v for k, v in asked.values.items() if v is not None}
    folders = free_folders(asked.root, asked.name)
    device = resolve_device(str(said.get("device", "auto")))
    preset = preset_of_lengths(said, asked.images, device)
    if len(preset.rungs) < LEAST_COMPUTES:
        raise UsageError(
            f"how a dial moves needs {LEAST_COMPUTES} lengths of training at least, not {len(preset.rungs)}",
            "--images 512,1024,2048",
        )
    vary = varied(asked.vary)
    for name, values in vary.items():
        if len(values) < LEAST_VALUES:
            raise UsageError(f"how {name} moves needs {LEAST_VALUES} values at least, not {len(values)}", EXAMPLE)
    arms = star_arms(asked.centre, vary)
    words = ", ".join(f"{name} ({', '.join(values)})" for name, values in vary.items())
    question = f"How does the best value of {words} move with compute, around {arms[0].network}?"
    experiment = Experiment(question=question, arms=arms, seeds=asked.seeds, expect=(), ladder=True, star=tuple(vary))
    configs = [parse_candidate(arm.network) for arm in arms]
    space = preset_space(HALONET, preset, {"s": sorted({config.image_size for config in configs})})
    known = {**said, "name": asked.name, "device": device, "budget": {"params": count(configs[0]).params}}
    return study_of(experiment, preset, space, known), folders
