"""study.yaml: what a study is. Its fields are the options of the command line, too; what was used is written back."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from halosearch import __version__
from halosearch.errors import UsageError, VersionError
from halosearch.families.known import HALONET, search_of
from halosearch.families.search_space import SearchSpace
from halosearch.files import write_text
from halosearch.spec.experiment import Experiment
from halosearch.spec.flags import Flag
from halosearch.spec.presets import PRESETS, Frozen, Preset
from halosearch.spec.quantities import parse_bytes, parse_count, parse_duration, parse_rivals, parse_tolerance
from halosearch.spec.unique_yaml import load_yaml

FORMAT = 3
"""Version of what is written; studies of format 2 are read, others refused."""
READABLE = (2, FORMAT)
FILE = "study.yaml"
POOL = "pool"
SAMPLERS = (POOL, "random", "tpe", "nsga2", "gp")
DEFAULT_IN_FLIGHT = 4
EXAMPLES = {"budget": "{params: 20M}", "preset": "{name: cpu-1h}", "space": "{s: [64, 96]}"}
OLD_KEYS = {"tier": "preset", "lookahead": "max_in_flight"}
"""Keys of older study files, which go on working."""
MAY_CHANGE = frozenset(
    {"trials", "retests", "max_time_s", "workers", "note", "halosearch", "max_gpu_hours", "max_trial_time_s",
     "max_trial_memory", "storage", "experiment", "data"}
)  # fmt: skip
"""Fields that may differ when a study is continued; all others decide what its numbers mean. Data may lie elsewhere: its pixels' fingerprint is
what must agree."""


class BudgetSpec(Frozen):
    """What candidates may cost: parameters within a tolerance, and at most so many MACs."""

    params: Annotated[
        int,
        Field(gt=0),
        Flag("--budget-params", "Parameters of the full candidate, for example 20M.", parse_count, "budget_params"),
    ]
    max_macs: Annotated[
        int | None,
        Field(gt=0),
        Flag("--budget-macs", "At most so many MACs, for example 4G.", parse_count, "budget_macs"),
    ] = None
    tolerance: Annotated[
        float,
        Field(gt=0, lt=1),
        Flag("--tolerance", "How far parameters may be from the budget (default 5%).", parse_tolerance),
    ] = 0.05


class StudySpec(Frozen):
    """A whole study.yaml.

    `max_in_flight` is how many decisions may be under way while the next is taken; it is part of what decides the proposals.
    `rivals` in their notation, at image sizes of the study; a study file of an earlier version has none.
    `rediscover`: the published member that the study asks for, which stands among the rivals and which the search is never told of.
    `max_trial_memory` is in bytes; `storage` is a database's address, None for a file in the study's folder.
    """

    format: int = FORMAT
    halosearch: str = __version__
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), Flag("--name", "Name of a new study.")]
    note: str = ""
    family: Annotated[str, Flag("--family", "Family to search: halonet (default) or efficientnet.")] = HALONET
    budget: BudgetSpec
    data: Annotated[str, Flag("--data", "Folder of images, CIFAR files, or built-in scenes (default).")]
    max_time_s: Annotated[
        float | None,
        Field(gt=0),
        Flag("--max-time", "Stop after this long, for example 2h; also chooses the preset of a new study.", parse_duration,
             "max_time"),
    ] = None  # fmt: skip
    trials: Annotated[
        int, Field(ge=1), Flag("--max-trials", "Trials in all (default: the preset's).", key="max_trials", minimum=1)
    ]
    retests: Annotated[
        int, Field(ge=0), Flag("--retests", "Trials to repeat with another seed (default: the preset's).", minimum=0)
    ]
    sampler: Annotated[
        str, Flag("--sampler", "pool, tpe, nsga2, gp or random; all stay inside the budget (default: pool).")
    ] = POOL
    rivals: Annotated[
        tuple[str, ...],
        Flag("--rivals", "Networks of other families, trained and timed beside the candidates: nearest (EfficientNet; default), none, "
             "or 'efficientnet-b0 resnet-50'.", parse_rivals),
    ] = ()  # fmt: skip
    seed: Annotated[
        int,
        Field(ge=0, lt=2**32),
        Flag("--seed", "Seed of proposals, weights and scenes (default: 0).", minimum=0),
    ] = 0
    preset: Preset
    workers: Annotated[
        int,
        Field(ge=1),
        Flag("--workers", "Processes that train (default: one per core, or one per GPU).", minimum=1),
    ]
    device: Annotated[str, Flag("--device", "auto, cpu, cuda or cuda:N (default: auto).")]
    max_in_flight: Annotated[
        int,
        Field(ge=1, le=4096),
        Flag("--max-in-flight", "Decisions under way while the next is taken (default: 4; over 4 workers twice as many).",
             old="--lookahead", minimum=1),
    ] = DEFAULT_IN_FLIGHT  # fmt: skip
    threads: int = Field(default=1, ge=1)
    max_gpu_hours: Annotated[
        float | None,
        Field(gt=0),
        Flag("--max-gpu-hours", "Stop after so many GPU-hours, all runs together.", minimum=0),
    ] = None
    max_trial_time_s: Annotated[
        float | None,
        Field(gt=0),
        Flag("--max-trial-time", "End a trial after this long (default: the preset's whole time, 10m at least).",
             parse_duration, "max_trial_time"),
    ] = None  # fmt: skip
    max_trial_memory: Annotated[
        int | None,
        Field(ge=2**28),
        Flag("--max-trial-memory", "End a trial that takes more main memory, for example 8GiB.", parse_bytes),
    ] = None
    storage: Annotated[
        str | None,
        Flag("--storage", "Keep trials in this database, for example postgresql://user@host/db."),
    ] = None
    experiment: Experiment | None = None
    rediscover: str | None = None
    space: dict[str, list[int | float | str]]
    space_hash: str

    def search_space(self) -> SearchSpace:
        """The dials' values."""
        return search_of(self.family).space().with_overrides(dict(self.space))

    @property
    def uniform(self) -> int:
        """How many trials are drawn evenly before the search; all with the sampler "random"."""
        return self.trials if self.sampler == "random" else self.preset.uniform


def preset_space(family: str, preset: Preset, overrides: dict[str, Any]) -> SearchSpace:
    """A family's default space with the preset's image sizes, then the user's overrides (which win).

    Raises:
        UsageError: an override is unknown or out of its domain.
    """
    default = search_of(family).space()
    sizes = [size for size in default.image_size if preset.smallest <= size <= preset.largest]
    return default.with_overrides({"image_size": sizes}).with_overrides(overrides)


def read_yaml(path: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """A study file's mapping; keys are checked against the known ones, at the top and inside budget, preset and space.

    `tell`: told of deprecated keys.

    Raises:
        UsageError: unreadable, no mapping, or an unknown key (with the nearest known one).
        VersionError: written in another format.
    """
    try:
        values = load_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}",
            "it must be YAML, for example: budget: {params: 20000000}",
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path.name} is not a mapping", "for example: budget: {params: 20000000}")
    if values.get("format", FORMAT) not in READABLE:
        raise VersionError(
            f"{path.name} was written in format {values['format']}, this version reads format {FORMAT}",
            "continue the study with the version of halosearch that began it, or start anew under another --name",
        )
    for old in [key for key in OLD_KEYS if key in values]:
        if OLD_KEYS[old] in values:
            raise UsageError(f"{path.name} says both {old} and {OLD_KEYS[old]}", f"{old} is the old name: leave it out")
        tell(f"{path.name}: {old} is now called {OLD_KEYS[old]}; the old name goes on working")
        values = {OLD_KEYS[old] if key == old else key: value for key, value in values.items()}
    values = _whole_mappings(values, path.name)
    for where, known, found in (
        ("", StudySpec.model_fields, values),
        (" under budget", BudgetSpec.model_fields, values.get("budget")),
        (" under preset", Preset.model_fields, values.get("preset")),
        (" under space", _dials(values.get("family", HALONET)), values.get("space")),
    ):
        for key in found if isinstance(found, dict) else ():
            if key not in known:
                close = difflib.get_close_matches(str(key), list(known), n=1)
                raise UsageError(
                    f"{path.name} has an unknown key {key!r}{where}",
                    f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}",
                )
    return values


def _dials(family: Any) -> tuple[str, ...]:
    """Short and long names of a family's dials."""
    space = search_of(str(family)).space
    return *space.SHORT, *space.dials()


def _whole_mappings(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The short forms written out: `budget: 20M`, `params: 20M`, `preset: cpu-1h`."""
    budget, preset = values.get("budget"), values.get("preset")
    if budget is not None and not isinstance(budget, dict):
        budget = {"params": budget}
    if isinstance(budget, dict):
        for key in ("params", "max_macs"):
            if isinstance(budget.get(key), str):
                budget = budget | {key: parse_count(budget[key], f"budget.{key} in {name}")}
    if isinstance(preset, str):
        preset = {"name": preset}
    whole = values | {key: value for key, value in (("budget", budget), ("preset", preset)) if value is not None}
    for key in ("budget", "preset", "space"):
        if not isinstance(whole.get(key, {}), dict):
            raise UsageError(f"{name}: {key} is {whole[key]!r}, not a mapping", f"for example {key}: {EXAMPLES[key]}")
    if "name" in whole:
        whole["name"] = str(whole["name"])
    return whole


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """A part of a study from plain values.

    Raises:
        UsageError: a value is missing or out of its domain.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"study: {'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})",
            "see How it works in the README for a study file",
        ) from error


def make_spec(values: dict[str, Any]) -> StudySpec:
    """A whole spec from whole values.

    Raises:
        UsageError: a value is missing or out of its domain.
    """
    spec = validated(StudySpec, values)
    if spec.sampler not in SAMPLERS:
        raise UsageError(f"unknown sampler {spec.sampler!r}", f"samplers are {', '.join(SAMPLERS)}")
    if spec.preset.name not in PRESETS and spec.preset.name != "custom":
        raise UsageError(f"unknown preset {spec.preset.name!r}", f"presets are {', '.join(PRESETS)}, custom")
    return spec


def write_spec(folder: Path, spec: StudySpec) -> None:
    """Write study.yaml whole."""
    text = (
        "# What this study is. trials, retests, workers, the limits (max_...), storage, note and the place of the data may be changed\n"
        "# and the study continued.\n"
    )
    write_text(
        folder / FILE,
        text + yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None),
    )
