"""From a study's rows to what its report is made of."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halosearch.analysis.validation_rows import forced, validation_of
from halosearch.families.known import HALONET
from halosearch.families.rivals import NEAREST, NONE, rivals_of
from halosearch.record.evaluation import Evaluation
from halosearch.record.folders import Folders
from halosearch.record.trials import Trial, trials_of
from halosearch.spec.flags import options_of
from halosearch.spec.presets import PRESETS
from halosearch.spec.study import StudySpec, preset_space

DATA_FILE = "data.json"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a summary is made of: the study's spec, its rows, facts about candidate pool, data, proxy and published models."""

    spec: dict[str, Any]
    rows: Sequence[Evaluation]
    trials: list[Trial]
    pool_size: int
    data: dict[str, Any]
    validation: dict[str, Any]
    published: list[str] = field(default_factory=list)
    prediction: dict[str, Any] | None = None
    forced: str | None = None
    even: int = 0
    """How many trials are drawn evenly before the search."""
    command: str = ""
    """The line that runs the same study again."""


def evidence_of(spec: StudySpec, folders: Folders, rows: Sequence[Evaluation], pool_size: int) -> Evidence:
    """What the report is made of; the step-time prediction is fitted over and over, which takes seconds in long studies."""
    # what takes a second to import, and a status does not need
    from halosearch.analysis.published_nearby import comparison_with_published
    from halosearch.analysis.step_times import prediction_of

    facts_file = folders.study / DATA_FILE
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {"description": spec.data}
    trials = trials_of(rows)
    return Evidence(
        shown_spec(spec),
        rows,
        trials,
        pool_size,
        facts,
        validation_of(rows, spec.uniform),
        comparison_with_published(spec),
        prediction_of(spec, trials),
        forced(rows, spec.uniform),
        spec.uniform,
        command_of(spec),
    )


def shown_spec(spec: StudySpec) -> dict[str, Any]:
    """The spec without a path of a machine or an address: the page is mailed around."""
    storage = None if spec.storage is None else "a database"
    return spec.model_dump(mode="json") | {"data": Path(spec.data).name, "storage": storage}


ASKED_AGAIN = (
    "family",
    "budget_params",
    "budget_macs",
    "preset",
    "seed",
    "sampler",
    "max_trials",
    "retests",
    "max_in_flight",
    "device",
)


def command_of(spec: StudySpec) -> str:
    """The line that runs the same study anew; one whose space or preset was written by hand needs its file."""
    if spec.rediscover is not None:
        return f"halosearch rediscover {spec.rediscover} --preset {spec.preset.name} --seed {spec.seed} --dir again"
    preset = PRESETS.get(spec.preset.name)
    if preset is None or spec.preset != preset.model_copy(update={"uniform": spec.preset.uniform}):
        return "halosearch study study.yaml"
    if spec.search_space() != preset_space(spec.family, spec.preset, {}):
        return "halosearch study study.yaml"
    words = ["halosearch", "study", "--name", f"{spec.name}-again", "--tolerance", f"{100 * spec.budget.tolerance:g}%"]
    for option in options_of(StudySpec):
        value: Any = spec
        for name in option.path:
            value = getattr(value, name)
        if option.key in ASKED_AGAIN and value is not None and (option.key, value) != ("family", HALONET):
            words += [option.flag.name, str(value)]
    if spec.rivals != rivals_of([NEAREST], spec.family, spec.budget.params, spec.search_space().image_size):
        words += ["--rivals", " ".join(spec.rivals) or NONE]
    if spec.data != spec.preset.scenes:
        words += ["--data", Path(spec.data).name]
    return shlex.join(words)
