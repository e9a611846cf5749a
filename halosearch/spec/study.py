"""study.yaml: what a study is. Flags start it or override it; what was used is written back, number by number."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from halosearch import __version__
from halosearch.errors import UsageError, VersionError
from halosearch.families.halonet.space import SHORT_NAMES, SearchSpace
from halosearch.files import write_text
from halosearch.record.store import FORMAT
from halosearch.search.sampler import POOL, SAMPLERS
from halosearch.spec.presets import TIERS, Tier
from halosearch.spec.quantities import parse_count

FILE = "study.yaml"
MAY_CHANGE = frozenset(
    {
        "trials",
        "retests",
        "max_time_s",
        "workers",
        "note",
        "halosearch",
        "max_gpu_hours",
        "max_trial_time_s",
        "max_trial_memory",
        "storage",
    }
)
"""Fields that may differ when a study is continued; all others decide what its numbers mean."""
DEFAULT_LOOKAHEAD = 4
EXAMPLES = {"budget": "{params: 20M}", "tier": "{name: cpu-1h}", "space": "{s: [64, 96]}"}


def _rising(rungs: tuple[int, ...]) -> tuple[int, ...]:
    if list(rungs) != sorted(set(rungs)) or rungs[0] < 1:
        raise ValueError("rungs must be rising numbers of images")
    return rungs


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetSpec(_Frozen):
    """What candidates may cost: parameters within a tolerance, and at most so many MACs."""

    params: int = Field(gt=0)
    tolerance: float = Field(default=0.05, gt=0, lt=1)
    max_macs: int | None = Field(default=None, gt=0)


class TierSpec(_Frozen):
    """The numbers of a tier, as used (see `Tier`)."""

    name: str
    device: str
    minutes: float
    smallest: int
    largest: int
    width_multiplier: float = Field(gt=0, le=1)
    rungs: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)]
    batch: int = Field(gt=1)
    learning_rate: float = Field(gt=0)
    train_images: int = Field(gt=0)
    test_images: int = Field(gt=0)
    trials: int
    retests: int
    scenes: str
    timing_batch: int = Field(gt=1)
    timing_rounds: int = Field(gt=1)
    timing_anchor: int = Field(ge=32)
    eta: int = Field(default=0, ge=0)
    uniform: int = Field(default=16, ge=0)
    anchor_seeds: int = Field(default=2, ge=0, le=50)
    rates: int = Field(default=0, ge=0, le=3)
    finalists: int = Field(default=0, ge=0)
    final_seeds: int = Field(default=0, ge=0, le=50)


class StudySpec(_Frozen):
    """A whole study.yaml.

    `lookahead` is how many moves may be under way while the next is decided; it is part of what decides the proposals.
    `max_trial_memory` is in bytes; `storage` is a database's address, None for a file in the study's folder.
    """

    format: int = FORMAT
    halosearch: str = __version__
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    note: str = ""
    budget: BudgetSpec
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str
    tier: TierSpec
    data: str
    sampler: str = POOL
    lookahead: int = Field(default=DEFAULT_LOOKAHEAD, ge=1, le=4096)
    trials: int = Field(ge=1)
    retests: int = Field(ge=0)
    workers: int = Field(ge=1)
    threads: int = Field(default=1, ge=1)
    max_time_s: float | None = Field(default=None, gt=0)
    max_gpu_hours: float | None = Field(default=None, gt=0)
    max_trial_time_s: float | None = Field(default=None, gt=0)
    max_trial_memory: int | None = Field(default=None, ge=2**28)
    storage: str | None = None
    space: dict[str, list[int | float | str]]
    space_hash: str

    def search_space(self) -> SearchSpace:
        """The dials' values."""
        return SearchSpace().with_overrides(dict(self.space))


def tier_space(tier: TierSpec, overrides: dict[str, Any]) -> SearchSpace:
    """The default space with the tier's image sizes, then the user's overrides (which win).

    Raises:
        UsageError: an override is unknown or out of its domain.
    """
    default = SearchSpace()
    sizes = [size for size in default.image_size if tier.smallest <= size <= tier.largest]
    return default.with_overrides({"image_size": sizes}).with_overrides(overrides)


def read_yaml(path: Path) -> dict[str, Any]:
    """A study file's mapping; keys are checked against the known ones, at the top and inside budget, tier and space.

    Raises:
        UsageError: unreadable, no mapping, or an unknown key (with the nearest known one).
        VersionError: written in another format.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}",
            "it must be YAML, for example: budget: {params: 20000000}",
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path.name} is not a mapping", "for example: budget: {params: 20000000}")
    if values.get("format", FORMAT) != FORMAT:
        raise VersionError(
            f"{path.name} was written in format {values['format']}, this version reads format {FORMAT}",
            "continue the study with the version of halosearch that began it, or start anew under another --name",
        )
    values = _whole_mappings(values, path.name)
    for where, known, found in (
        ("", StudySpec.model_fields, values),
        (" under budget", BudgetSpec.model_fields, values.get("budget")),
        (" under tier", TierSpec.model_fields, values.get("tier")),
        (" under space", dict(SHORT_NAMES) | dict.fromkeys(SHORT_NAMES.values()), values.get("space")),
    ):
        for key in found if isinstance(found, dict) else ():
            if key not in known:
                close = difflib.get_close_matches(str(key), list(known), n=1)
                raise UsageError(
                    f"{path.name} has an unknown key {key!r}{where}",
                    f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}",
                )
    return values


def _whole_mappings(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The short forms written out: `budget: 20M`, `params: 20M`, `tier: cpu-1h`."""
    budget, tier = values.get("budget"), values.get("tier")
    if budget is not None and not isinstance(budget, dict):
        budget = {"params": budget}
    if isinstance(budget, dict):
        for key in ("params", "max_macs"):
            if isinstance(budget.get(key), str):
                budget = budget | {key: parse_count(budget[key], f"budget.{key} in {name}")}
    if isinstance(tier, str):
        tier = {"name": tier}
    whole = values | {key: value for key, value in (("budget", budget), ("tier", tier)) if value is not None}
    for key in ("budget", "tier", "space"):
        if not isinstance(whole.get(key, {}), dict):
            raise UsageError(f"{name}: {key} is {whole[key]!r}, not a mapping", f"for example {key}: {EXAMPLES[key]}")
    if "name" in whole:
        whole["name"] = str(whole["name"])
    return whole


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], values: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"study: {'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})",
            "see How it works in the README for a study file",
        ) from error


def make_tier(base: Tier, changes: dict[str, Any]) -> TierSpec:
    """A tier's numbers with some replaced.

    Raises:
        UsageError: a number is out of its domain.
    """
    return _validated(TierSpec, {**asdict(base), **changes})


def make_spec(values: dict[str, Any]) -> StudySpec:
    """A whole spec from whole values.

    Raises:
        UsageError: a value is missing or out of its domain.
    """
    spec = _validated(StudySpec, values)
    if spec.sampler not in (POOL, *SAMPLERS):
        raise UsageError(f"unknown sampler {spec.sampler!r}", f"samplers are {', '.join((POOL, *SAMPLERS))}")
    if spec.storage is not None:
        from halosearch.record.database import carries_a_password

        if carries_a_password(spec.storage):
            raise UsageError(
                "the address in storage carries a password, and study.yaml would show it",
                "leave it out and put it into ~/.pgpass or PGPASSWORD",
            )
    if spec.tier.name not in TIERS and spec.tier.name != "custom":
        raise UsageError(f"unknown tier {spec.tier.name!r}", f"tiers are {', '.join(TIERS)}, custom")
    return spec


def write_spec(folder: Path, spec: StudySpec) -> None:
    """Write study.yaml whole."""
    text = "# What this study is. trials, retests, workers, the limits (max_...), storage and note may be changed and the study continued.\n"
    write_text(
        folder / FILE,
        text + yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None),
    )


def check_same_inputs(old: StudySpec, new: StudySpec) -> None:
    """Refuse to continue a study as another one.

    Raises:
        UsageError: a field that decides what the numbers mean differs.
    """
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key in before:
        if key not in MAY_CHANGE and before[key] != after[key]:
            raise UsageError(
                f"the study {old.name!r} was begun with {_difference(key, before[key], after[key])}",
                "continue it without that flag, or start another study with --name",
            )


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        return _difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return f"{key} {old}, not {new}"
