"""A field of a study file as an option of the command line: the field carries its flag, and both come from one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Flag:
    """The option of a field.

    Args:
        name: as typed. old: a deprecated name that goes on working.
        help: one line.
        parse: turns the typed text into the field's value, given the flag's name for its errors; None: the field's own type.
        key: what the value is called in a flat mapping (default: the field's name).
        metavar: placeholder in the help. minimum: smallest number taken.
    """

    name: str
    help: str
    parse: Callable[[str, str], Any] | None = None
    key: str = ""
    old: str = ""
    metavar: str | None = None
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """A flag with where its value stands in a study file, and the type that is typed."""

    key: str
    path: tuple[str, ...]
    flag: Flag
    type: type


def options_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[Option]:
    """The options of a model's fields, nested models included, in the fields' order."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from options_of(field.annotation, (*above, name))
        for flag in (each for each in field.metadata if isinstance(each, Flag)):
            yield Option(flag.key or name, (*above, name), flag, str if flag.parse else _plain(field.annotation))


def _plain(annotation: Any) -> type:
    """Int of `int | None`."""
    if isinstance(annotation, UnionType) or get_origin(annotation) is not None:
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    assert isinstance(annotation, type)
    return annotation


def nested(model: type[BaseModel], flat: Mapping[str, Any]) -> dict[str, Any]:
    """Flat values by key in the shape of a study file; None is "not said", texts are parsed.

    Raises:
        UsageError: a text cannot be parsed.
    """
    found: dict[str, Any] = {}
    for option in options_of(model):
        value = flat.get(option.key)
        if value is None:
            continue
        if option.flag.parse is not None and isinstance(value, str):
            value = option.flag.parse(value, option.flag.name)
        inner = found
        for name in option.path[:-1]:
            inner = inner.setdefault(name, {})
        inner[option.path[-1]] = value
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values, those of `above` winning."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found
