"""One short training outside a study."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halosearch.cost.devices import resolve_device, within_memory
from halosearch.errors import NothingUsableError, UsageError
from halosearch.families.known import Config, candidate_text, twin_of
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.training import DivergedError, Trainer, TrainingJob
from halosearch.run.same_inputs import recipe_of
from halosearch.spec.presets import PRESETS, choose_preset


@dataclass(frozen=True, slots=True)
class OneTraining:
    """What to train: a candidate's twin, by a preset's recipe, on data; None leaves the preset's or the candidate's own."""

    config: Config
    data: str | None
    preset: str | None
    images: int | None
    image_size: int | None
    seed: int
    device: str


def train_once(wanted: OneTraining, say: Callable[[str], None]) -> dict[str, Any]:
    """Train the twin of a candidate by a preset's recipe and score it; nothing is kept on disk.

    Raises:
        UsageError: an unknown preset.
        EnvironmentFault: no such device or data.
        NothingUsableError: the loss diverged.
    """
    config, data, preset, seed = wanted.config, wanted.data, wanted.preset, wanted.seed
    images, image_size, device = wanted.images, wanted.image_size, wanted.device
    resolved = resolve_device(device)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}", f"presets are {', '.join(PRESETS)}")
    price = PRESETS[preset] if preset else choose_preset(resolved.type, None)
    if image_size:
        config = replace(config, image_size=image_size)  # type: ignore[type-var]
    rungs = (images,) if images else price.rungs
    twin = twin_of(config, price.width_multiplier)
    with tempfile.TemporaryDirectory() as cache:
        dataset = open_data(
            DataRequest(
                data or price.scenes,
                seed,
                price.train_images,
                price.test_images,
                config.image_size,
                Path(cache),
                dense=price.dense,
            ),
            str(resolved),
        )
        for path, reason in dataset.report.unreadable:
            say(f"unreadable: {path} ({reason})")
        job = TrainingJob(twin, recipe_of(price), rungs, seed, price.test_images)
        say(f"training the twin {candidate_text(twin)} on {rungs[-1]:,} images of {dataset.report.description}")
        shown = [0]

        def progress(done: int, total: int, loss: float) -> None:
            if done * 10 // total > shown[0]:
                shown[0] = done * 10 // total
                say(f"images={done} of={total} loss={loss:.3f}")

        try:
            with within_memory(resolved):
                trained = Trainer(job, dataset, resolved, on_step=progress).run()
        except DivergedError as error:
            raise NothingUsableError(f"training diverged: {error}", "try another seed or candidate") from error
    final = trained.final.to_dict() | {"images_seen": rungs[-1]}
    return {
        "candidate": candidate_text(config),
        "twin": candidate_text(twin),
        "data": dataset.report.description,
        "seed": seed,
        "preset": price.name,
        "score": trained.final.score,
        "final": final,
        "curve": [list(p) for p in trained.curve],
        "images_per_s": trained.images_per_s,
        "seconds": trained.seconds,
    }
