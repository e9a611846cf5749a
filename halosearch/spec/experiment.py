"""An experiment as a file says it: a question, arms that differ in few things, seeds, and what is expected, written before the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from halosearch.errors import UsageError
from halosearch.families.known import candidate_text, parse_candidate
from halosearch.spec.presets import Frozen

RECIPE: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-9, 10),
    "weight_decay": (0, 10),
    "label_smoothing": (0, 0.99),
    "clip": (1e-9, 1e9),
    "warmup_steps": (1, 1e6),
    "cooldown": (0.01, 0.99),
    "batch": (2, 65_536),
    "randaugment": (0, 31),
}
"""What an arm may change of the training recipe, and between which values."""
WHOLE = ("warmup_steps", "batch", "randaugment")
EXAMPLE = "for example arms: {small: {b: 4, h: 1}, large: {b: 8, h: 2}, rival: efficientnet-b0}"


class Arm(Frozen):
    """One arm: a network in its notation, and what it changes of the recipe; of a ladder its budget, and whether it checks a forecast."""

    name: str
    network: str
    recipe: dict[str, float] = Field(default_factory=dict)
    budget: int | None = None
    check: bool = False


class Experiment(Frozen):
    """What an experiment is, arms written out. `published`: what the paper printed, by arm, with its source; never fitted to.

    `noise`: standard deviation of a difference of two arms' scores between seeds, where it is known before. `timing_rows`: processes that
    time the arms whose step times are compared. A `ladder` expects nothing: a law is fitted to it. `star`: the fields that a ladder varies
    around one centre, one at a time (else its arms are shapes of several budgets). `time_arms`: a ladder's shapes are timed, too.
    """

    question: str
    source: str = ""
    published: dict[str, float | str] = Field(default_factory=dict)
    arms: Annotated[tuple[Arm, ...], Field(min_length=2)]
    seeds: Annotated[int, Field(ge=2, le=1000)] = 8
    noise: Annotated[float | None, Field(gt=0)] = None
    timing_rows: Annotated[int, Field(ge=1, le=100)] = 2
    expect: tuple[str, ...]
    ladder: bool = False
    star: tuple[str, ...] = ()
    time_arms: bool = False

    def hash(self) -> str:
        """Twelve hexadecimal digits that change with arms, seeds or expectations."""
        said = self.model_dump(mode="json", include={"seeds", "timing_rows", "expect"})
        said["arms"] = [{"name": arm.name, "network": arm.network, "recipe": arm.recipe} for arm in self.arms]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def arms_of(base: str, vary: Mapping[str, Any], arms: Mapping[str, Any]) -> tuple[Arm, ...]:
    """The arms that a file means: every value of every varied field alone, then those that are named.

    `vary`: field -> values, or fields between commas -> lists of values (`"b,h": [[4, 1], [8, 0]]`); a field is one of the notation's
    or `recipe.NAME`. `arms`: name -> fields with values (`network` is what they are changed of, by default the base), another network's
    notation, or {} for the base itself.

    Raises:
        UsageError: a field or network is unknown, or two arms have one name.
    """
    found = [_arm(base, settings, name) for settings, name in _varied(vary)]
    for name, said in arms.items():
        if isinstance(said, str):
            found.append(Arm(name=arm_name(name), network=candidate_text(parse_candidate(said))))
        elif isinstance(said, Mapping) or said is None:
            found.append(_arm(base, dict(said or {}), arm_name(name)))
        else:
            raise UsageError(f"the arm {name!r} is {said!r}, neither fields nor a network", EXAMPLE)
    names = [arm.name for arm in found]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError(f"the arm {twice[0]!r} is there twice", "name it once")
    return tuple(found)


def arm_name(text: object) -> str:
    """An arm's name as expectations call it: without spaces."""
    return "".join(str(text).split())


def _varied(vary: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    found = []
    for key, values in vary.items():
        fields = [field.strip() for field in str(key).split(",")]
        if not isinstance(values, list):
            raise UsageError(f"vary: {key} is {values!r}, not a list of values", "for example vary: {s: [48, 64, 96]}")
        for value in values:
            row = value if isinstance(value, list) else [value]
            if len(row) != len(fields):
                raise UsageError(f"vary: {key} has {row!r}", 'for example vary: {"b,h": [[4, 1], [8, 0]]}')
            settings = dict(zip(fields, row, strict=True))
            found.append((settings, ",".join(f"{field}={_word(each)}" for field, each in settings.items())))
    return found


def _word(value: Any) -> str:
    """A value as notation writes it; YAML reads yes, no and none as something else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _arm(base: str, settings: Mapping[str, Any], name: str) -> Arm:
    recipe = {key.removeprefix("recipe."): value for key, value in settings.items() if key.startswith("recipe.")}
    if isinstance(settings.get("recipe"), Mapping):
        recipe |= dict(settings["recipe"])
    elif settings.get("recipe") is not None:
        raise UsageError(
            f"recipe of the arm {name!r} is {settings['recipe']!r}, not a mapping", "recipe.label_smoothing: 0"
        )
    for key, value in recipe.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key not in RECIPE or not number:
            raise UsageError(
                f"the arm {name!r} cannot set recipe.{key} to {value!r}", f"numbers for {', '.join(RECIPE)}"
            )
        low, high = RECIPE[key]
        if not low <= value <= high or (key in WHOLE and value != int(value)):
            kind = "whole numbers" if key in WHOLE else "numbers"
            raise UsageError(
                f"the arm {name!r} cannot set recipe.{key} to {value!r}", f"it takes {kind} from {low:g} to {high:g}"
            )
    fields = {k: v for k, v in settings.items() if k not in ("recipe", "network") and not k.startswith("recipe.")}
    network = with_fields(str(settings.get("network", base)), fields)
    return Arm(name=name, network=candidate_text(parse_candidate(network)), recipe=recipe)


def with_fields(base: str, fields: Mapping[str, Any]) -> str:
    """A network's notation with some of its values replaced."""
    text = candidate_text(parse_candidate(base))
    if not fields:
        return text
    name, colon, rest = text.partition(":")
    if not colon:  # `s=64,...`, or a member's name alone
        name, colon, rest = ("", "", text) if "=" in text else (text, ":", "")
    values = dict(part.split("=", 1) for part in filter(None, rest.split(",")))
    values |= {key: _word(value) for key, value in fields.items()}
    return f"{name}{colon}" + ",".join(f"{key}={value}" for key, value in values.items())
