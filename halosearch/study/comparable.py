"""What must stay the same for a study's numbers to be comparable: data, recipe, device. Checked whenever it is continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from halosearch.cost.devices import fingerprint
from halosearch.cost.timing import TimingPlan, anchor_config, measure
from halosearch.errors import EnvironmentFault, VersionError
from halosearch.halonet.network import WEIGHTS_VERSION
from halosearch.proxy.dataset import Dataset
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.training import NORM_BATCHES
from halosearch.records.store import Store
from halosearch.study.spec import StudySpec

GPU_STEPS = 20
"""Steps of a sample on a GPU, whose single steps are too short for the host's clock."""


def check_same_data(data: Dataset, store: Store) -> None:
    """Scores on other images cannot be compared with those recorded.

    Raises:
        EnvironmentFault: the images or labels changed since the study began.
    """
    known = store.notes().get("data_fingerprint")
    if known is None:
        store.note("data_fingerprint", {"sha256": data.report.fingerprint})
    elif known["sha256"] != data.report.fingerprint:
        raise EnvironmentFault(
            f"the data is no longer what the study began with ({data.report.description})",
            "bring the old files back, or start another study with --name",
        )


def recipe_of(spec: StudySpec) -> Recipe:
    """How this study's twins are trained."""
    return Recipe(batch=spec.tier.batch, learning_rate=spec.tier.learning_rate)


def check_same_recipe(store: Store, spec: StudySpec) -> None:
    """Scores of another recipe cannot be compared with those recorded.

    Raises:
        VersionError: this version trains otherwise than the one that began the study.
    """
    now = json.loads(json.dumps(asdict(recipe_of(spec)) | {"norm_batches": NORM_BATCHES, "weights": WEIGHTS_VERSION}))
    known = store.notes().get("recipe")
    if known is None:
        store.note("recipe", now)
    elif known != now:
        changed = ", ".join(key for key in now if known.get(key) != now[key])
        raise VersionError(
            f"this version of halosearch trains by another recipe ({changed}) than the one that began the study",
            "continue it with that version, or start anew under another --name",
        )


def timing_plan(spec: StudySpec) -> TimingPlan:
    """How step times are measured in a study."""
    steps = GPU_STEPS if spec.device.startswith("cuda") else 1
    return TimingPlan(
        spec.tier.timing_batch, spec.tier.timing_rounds, steps, warmup=steps, anchor_size=spec.tier.timing_anchor
    )


def anchor_step_time(spec: StudySpec, store: Store, message: Callable[[str], None]) -> float:
    """The anchor's step time in seconds, measured once, on the machine before any worker runs.

    Raises:
        EnvironmentFault: the study began on another device, or with another torch or thread count.
    """
    known = store.notes().get("clock")
    torch.set_num_threads(spec.threads)
    if known is None:
        message("measuring the anchor's step time on the idle machine")
        usual = timing_plan(spec)
        plan = replace(usual, rounds=2 * usual.rounds, warmup=2 * usual.warmup)
        known = measure({"anchor": anchor_config(plan.anchor_size)}, plan, torch.device(spec.device))[0].to_dict()
        store.note("clock", known)
    here = fingerprint(torch.device(spec.device))
    changed = [key for key in here if known["device"].get(key) != here[key] and key not in ("halosearch", "python")]
    if changed:
        raise EnvironmentFault(
            f"step times of this study were measured with {changed[0]} {known['device'].get(changed[0])}; here it is "
            f"{here[changed[0]]}, and the two cannot be compared",
            "continue it where it began, or start another study with --name",
        )
    return float(known["seconds"]["median"])
