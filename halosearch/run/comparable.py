"""What must stay the same for a study's numbers to be comparable: data and recipe. Checked whenever it is continued."""

from __future__ import annotations

import json
from dataclasses import asdict

from halosearch.cost.timing import TimingPlan
from halosearch.errors import EnvironmentFault, VersionError
from halosearch.families.halonet.network import WEIGHTS_VERSION
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.training import NORM_BATCHES
from halosearch.record.store import Store
from halosearch.spec.study import StudySpec

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
