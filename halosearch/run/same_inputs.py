"""What must stay the same for a study's numbers to be comparable: inputs, data, recipe. Checked whenever it is continued."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from halosearch.cost.timing import TimingPlan
from halosearch.errors import EnvironmentFault, UsageError, VersionError
from halosearch.families.halonet.network import WEIGHTS_VERSION
from halosearch.families.known import HALONET
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.sources import upsampled_sizes
from halosearch.proxy.recipe import Recipe
from halosearch.record.table import Table
from halosearch.spec.presets import Preset
from halosearch.spec.study import FILE, MAY_CHANGE, StudySpec

EXAMPLES = 3
"""Files named of every reason."""
NAMED = 10
"""Files or classes that are named before the rest is counted."""
GPU_STEPS, GPU_WARMUP = 10, 3
"""Steps of a sample on a GPU, whose single steps are too short for the host's clock."""


def check_same_inputs(table: Table, spec: StudySpec, data: Dataset) -> None:
    """Refuse a study.yaml whose inputs were edited after the first trial, other images, or another recipe.

    Raises:
        UsageError: naming the field that was edited.
        EnvironmentFault: the images or labels changed since the study began.
        VersionError: this version trains otherwise than the one that began the study.
    """
    now = {key: value for key, value in spec.model_dump(mode="json").items() if key not in MAY_CHANGE}
    changed, before = _changed(table, "inputs", now)
    if changed:
        raise UsageError(
            f"{FILE} says {changed[0]} {now[changed[0]]}, but the study was begun with {before.get(changed[0])}",
            "undo the change, or start another study with --name",
        )
    if _changed(table, "data", {"sha256": data.report.fingerprint})[0]:
        raise EnvironmentFault(
            f"the data is no longer what the study began with ({data.report.description})",
            "bring the old files back, say where they lie now (--data), or start another study with --name",
        )
    recipe = asdict(recipe_of(spec.preset)) | {"weights": WEIGHTS_VERSION}
    del recipe["randaugment"]  # arms alone have it, and studies that were begun before it do not name it
    changed, _ = _changed(table, "recipe", json.loads(json.dumps(recipe)))
    if changed:
        raise VersionError(
            f"this version of halosearch trains by another recipe ({', '.join(changed)}) than the one that began the study",
            "continue it with that version, or start anew under another --name",
        )


def _changed(table: Table, fact: str, now: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The keys whose values are not those that the study began with, and these values; kept where it begins now."""
    known = table.facts().get(fact)
    if known is None:
        table.set_fact(fact, now)
        return [], {}
    if "preset" in known:  # what an earlier version did not name yet means what the defaults say
        known = (
            {"rivals": [], "family": HALONET}
            | known
            | {"preset": Preset.model_validate(known["preset"]).model_dump(mode="json")}
        )
    return [key for key in now if known.get(key) != now[key]], known


def recipe_of(preset: Preset) -> Recipe:
    """How twins are trained: the preset's numbers, and the recipe's own where a preset has no say."""
    names = {field.name for field in fields(Recipe)} & set(Preset.model_fields)
    return Recipe(**{name: getattr(preset, name) for name in names})


def timing_plan(spec: StudySpec) -> TimingPlan:
    """How step times are measured in a study."""
    steps, warmup = (GPU_STEPS, GPU_WARMUP) if spec.device.startswith("cuda") else (1, 1)
    preset = spec.preset
    return TimingPlan(preset.timing_batch, preset.timing_rounds, steps, warmup=warmup, anchor_size=preset.timing_anchor)


def data_facts(data: Dataset, spec: StudySpec) -> dict[str, Any]:
    """The data's report, its factors, and for built-in scenes the hash of the task."""
    facts = data.report.to_dict() | {
        "factors": [[factor.name, factor.classes] for factor in data.factors],
        "dense": [[group.name, group.width] for group in data.dense],
        "upsampled": upsampled_sizes(data, spec.search_space().image_size),
    }
    return facts | ({"task_hash": data.report.fingerprint.partition("-")[0]} if spec.data in DIFFICULTIES else {})


def tell_of_data(data: Dataset, spec: StudySpec, message: Callable[[str], None]) -> None:
    """Say what was found and, by name, what is not used."""
    report = data.report
    classes = f"{len(report.classes)} classes ({', '.join([*report.classes[:NAMED], *(['...'] if len(report.classes) > NAMED else [])])}), "
    message(
        f"data: {report.description}; {classes if report.classes else ''}"
        + ", ".join(f"{n:,} {split}" for split, n in report.images.items())
    )
    for name, found in (("unreadable", report.unreadable), ("skipped", report.skipped)):
        by_reason: dict[str, list[str]] = {}
        for path, reason in found:
            by_reason.setdefault(re.sub(r" '[^']*'", "", reason), []).append(path)  # decoders repeat the file's name
        if found:
            message(f"{len(found):,} {name} file{'s' if len(found) > 1 else ''}, all named in the study's data.json:")
        for reason, paths in sorted(by_reason.items(), key=lambda pair: -len(pair[1]))[:NAMED]:
            more = f" and {len(paths) - EXAMPLES:,} more" if len(paths) > EXAMPLES else ""
            message(f"  {name}: {', '.join(paths[:EXAMPLES])}{more} ({reason})")
        if len(by_reason) > NAMED:
            message(f"  and for {len(by_reason) - NAMED:,} more reasons")
    for name in report.empty_classes:
        message(f"  class without a readable image: {name}")
    sizes = upsampled_sizes(data, spec.search_space().image_size)
    if sizes:
        message(
            f"warning: image sizes {', '.join(map(str, sizes))} exceed 1.5x the images' own {report.native_size} pixels: they are only enlarged"
        )
