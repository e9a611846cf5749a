"""From an experiment's file to the study that runs it: read, written out, continued."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from halosearch import __version__
from halosearch.analysis.expectations import parse_expectation
from halosearch.errors import UsageError
from halosearch.families.known import HALONET, count, parse_candidate
from halosearch.families.search_space import SearchSpace
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.randaugment import randaugment
from halosearch.record.evaluation import ARM, STEP_TIMES
from halosearch.record.folders import Folders, find_study, folders_of
from halosearch.record.table import Table
from halosearch.run.begin import ResolveDevice, check_free, check_same, default_workers, is_begun, with_full_path
from halosearch.spec.experiment import EXAMPLE, Experiment, arm_name, arms_of
from halosearch.spec.flags import merged
from halosearch.spec.presets import PRESETS, Preset, choose_preset
from halosearch.spec.quantities import parse_count
from halosearch.spec.study import (
    DEFAULT_IN_FLIGHT,
    FILE,
    FORMAT,
    StudySpec,
    make_spec,
    preset_space,
    read_yaml,
    validated,
)
from halosearch.spec.unique_yaml import load_yaml

KEYS = (
    "name", "note", "question", "source", "published", "base", "vary", "arms", "seeds", "timing_rows", "images", "expect", "preset",
    "data", "seed", "workers", "device", "noise",
)  # fmt: skip
OWN = ("name", "note", "family", "budget", "data", "seed", "device", "max_time_s")
"""What of an experiment's file is a study's own."""
FACT = "experiment"
RESULTS = (ARM, STEP_TIMES)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: an experiment's file, or the name of one that was begun; the folder of studies/; what was said beside."""

    source: str
    root: Path = Path()
    said: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda _: None


def resolve_experiment(asked: Asked, resolve_device: ResolveDevice) -> tuple[StudySpec, Folders, bool]:
    """The spec that an experiment means, its folders, and whether it was begun already. Nothing is written.

    Raises:
        UsageError: no such file, an unknown key, a network or expectation that is not understood, or another experiment of that name.
    """
    if not asked.source.endswith((".yaml", ".yml")):
        folders = find_study(asked.root, asked.source)
        spec = make_spec(read_yaml(folders.study / FILE))
        if spec.experiment is None:
            raise UsageError(f"{asked.source!r} is a study, not an experiment", f"halosearch study {asked.source}")
        resolve_device(spec.device)
        return with_said(spec, asked.said), folders, True
    path = Path(asked.source)
    values = read_experiment(path)
    name = str(values.get("name") or path.stem)
    folders = folders_of(asked.root, name)
    spec = _spec(values | {"name": name}, asked.said, resolve_device)
    if not is_begun(folders):
        check_free(folders)
        return spec, folders, False
    return _continued(spec, folders), folders, True


def read_experiment(path: Path) -> dict[str, Any]:
    """An experiment's file as a mapping with known keys.

    Raises:
        UsageError: unreadable, no mapping, or an unknown key.
    """
    try:
        values = load_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}", "see docs/experiments.md"
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path.name} is not a mapping", "see docs/experiments.md for an experiment of ten lines")
    for key in values:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(KEYS)}"
            raise UsageError(f"{path.name} has an unknown key {key!r}", hint)
    missing = [key for key in ("question", "expect") if not values.get(key)]
    if missing or not (values.get("vary") or values.get("arms")):
        raise UsageError(
            f"{path.name} has no {missing[0] if missing else 'vary and no arms'}", "see docs/experiments.md"
        )
    return values


def experiment_of(values: Mapping[str, Any]) -> Experiment:
    """The experiment with its arms written out and its expectations understood.

    Raises:
        UsageError: something of it is not understood.
    """
    vary, arms, expect = values.get("vary") or {}, values.get("arms") or {}, values["expect"]
    if not isinstance(vary, Mapping) or not isinstance(arms, Mapping):
        raise UsageError("vary and arms are mappings", EXAMPLE)
    if vary and "base" not in values:
        raise UsageError("vary needs a base to vary", "for example base: s=64,b=8,h=2,rb=2,l3=4")
    written = arms_of(str(values.get("base", "h0")), vary, arms)
    names = [arm.name for arm in written]
    lines = tuple(str(line) for line in (expect if isinstance(expect, list) else [expect]))
    for line in lines:
        parse_expectation(line, names)
    published = values.get("published") or {}
    if not isinstance(published, Mapping):
        raise UsageError(f"published is {published!r}, not a mapping", "what was printed, by arm: {b=4,h=1: 80.1}")
    unknown = next((key for key in map(arm_name, published) if key not in names), None)
    if unknown is not None:
        raise UsageError(f"published speaks of an arm {unknown!r} that there is not", f"arms are {'; '.join(names)}")
    values = {**values, "published": {arm_name(key): value for key, value in published.items()}}
    own = {
        key: values[key]
        for key in ("question", "source", "published", "seeds", "noise", "timing_rows")
        if key in values
    }
    return validated(Experiment, own | {"arms": written, "expect": lines})


def _spec(values: Mapping[str, Any], said: Mapping[str, Any], resolve_device: ResolveDevice) -> StudySpec:
    said = {key: value for key, value in said.items() if value is not None}
    experiment = experiment_of({**values, **{key: said[key] for key in ("seeds",) if key in said}})
    device = resolve_device(str(said.get("device") or values.get("device") or "auto"))
    preset = preset_of(values, device)
    _check_augmentation(experiment, str(said.get("data") or values.get("data") or preset.scenes))
    configs = [parse_candidate(arm.network) for arm in experiment.arms]
    space = preset_space(HALONET, preset, {"s": sorted({config.image_size for config in configs})})
    known = {**values, **said, "device": device, "budget": {"params": count(configs[0]).params}}
    return study_of(experiment, preset, space, known)


def _check_augmentation(experiment: Experiment, data: str) -> None:
    """Say before the first training that an arm's augmentation cannot be had.

    Raises:
        UsageError: it is asked for on scenes.
        EnvironmentFault: torchvision cannot be imported.
    """
    for arm in experiment.arms:
        if magnitude := int(arm.recipe.get("randaugment", 0)):
            if data in DIFFICULTIES:
                raise UsageError(
                    f"the arm {arm.name!r} asks for RandAugment on scenes, whose targets say where things were before",
                    "data: a folder of pictures",
                )
            randaugment(magnitude)


def study_of(experiment: Experiment, preset: Preset, space: SearchSpace, values: Mapping[str, Any]) -> StudySpec:
    """The study that runs an experiment or a ladder; `values`: name, budget, device, and what else was said of it.

    Raises:
        UsageError: a value is out of its domain.
    """
    workers = values.get("workers") or default_workers(None)
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise UsageError(f"workers cannot be {workers!r}", "for example workers: 2")
    if not isinstance(values.get("data", ""), str):
        raise UsageError(f"data cannot be {values['data']!r}", "for example data: photos")
    own = {key: values[key] for key in OWN if values.get(key) is not None}
    return make_spec(
        with_full_path(
            {"data": preset.scenes}
            | own
            | {
                "format": FORMAT,
                "halosearch": __version__,
                "trials": len(experiment.arms),
                "retests": 0,
                "preset": preset.model_dump(),
                "workers": workers,
                "max_in_flight": max(DEFAULT_IN_FLIGHT, workers),
                "experiment": experiment.model_dump(mode="json"),
                "space": space.to_dict(),
                "space_hash": space.hash(),
            }
        )
    )


def preset_of(values: Mapping[str, Any], device: str) -> Preset:
    """The preset's numbers with the experiment's images."""
    given = values.get("preset") or {}
    if not isinstance(given, str | Mapping):
        raise UsageError(f"preset cannot be {given!r}", "for example preset: cpu-10m")
    given = {"name": given} if isinstance(given, str) else dict(given)
    named = given.get("name")
    if named not in (None, "custom", *PRESETS):
        raise UsageError(f"unknown preset {named!r}", f"presets are {', '.join(PRESETS)}")
    base = PRESETS[named] if named in PRESETS else choose_preset(device.partition(":")[0], None)
    images = values.get("images")
    if images is not None:
        each = images if isinstance(images, list) else [images]
        given["rungs"] = [parse_count(str(one), "images") for one in each]
    return validated(Preset, merged(base.model_dump(), given))


def with_said(spec: StudySpec, said: Mapping[str, Any]) -> StudySpec:
    """A begun experiment with other workers, seeds or time."""
    values = spec.model_dump(mode="json") | {key: said[key] for key in ("workers", "max_time_s") if said.get(key)}
    if said.get("device") not in (None, spec.device):
        raise UsageError(
            f"the experiment {spec.name!r} was begun on {spec.device}", "leave --device out, or give it another name"
        )
    if said.get("seeds"):
        values["experiment"] = values["experiment"] | {"seeds": said["seeds"]}
    return make_spec(values)


def _continued(spec: StudySpec, folders: Folders) -> StudySpec:
    """The spec, if the experiment that was begun under its name is the same but for what may change.

    Raises:
        UsageError: it is another one.
    """
    begun = make_spec(read_yaml(folders.study / FILE))
    if begun.experiment is None:
        raise UsageError(f"{begun.name!r} is a study already", "give the experiment another name")
    assert spec.experiment is not None
    check_same(begun, spec)
    if spec.experiment.arms[: len(begun.experiment.arms)] != begun.experiment.arms:
        raise UsageError(
            f"the experiment {begun.name!r} was begun with other arms",
            "arms may be added at the end; else give it another name",
        )
    return spec


def note_expectations(table: Table, experiment: Experiment, tell: Callable[[str], None]) -> None:
    """Keep what is expected in the record before the first row; what is changed after a result is kept beside it, for all to see.

    A ladder expects nothing, and grows by the budgets that check it: its forecast is in the record by itself.
    """
    if experiment.ladder:
        return
    now = {
        "hash": experiment.hash(),
        "expect": list(experiment.expect),
        "seeds": experiment.seeds,
        "arms": len(experiment.arms),
    }
    known = table.facts().get(FACT)
    if known is None or (known["hash"] != now["hash"] and not any(r.kind in RESULTS and r.runs for r in table.rows())):
        table.set_fact(FACT, now | {"changes": []})
    elif known["hash"] != now["hash"]:
        ended = sum(row.kind in RESULTS and row.runs > 0 for row in table.rows())
        before = {key: known[key] for key in now}
        table.set_fact(FACT, now | {"changes": [*known["changes"], {"after_results": ended, "before": before}]})
        tell(f"the experiment was changed after {ended} results; the page will say so")
