"""Commands whose options are the fields of a value: Typer is shown a signature made of the fields, the command gets one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_type_hints

import typer

from halosearch.errors import UsageError
from halosearch.spec.flags import options_of
from halosearch.spec.study import StudySpec

Parameter = inspect.Parameter


def from_fields(value: type) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """The options of a command are the fields of a dataclass, whose annotations say what Typer needs."""

    def decorate(command: Callable[[Any], None]) -> Callable[..., None]:
        hints = get_type_hints(value, include_extras=True)
        parameters = [
            Parameter(
                field.name,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in fields(value)
        ]
        return _with_signature(command, parameters, lambda **said: command(value(**said)))

    return decorate


def with_study_fields(value: type, make: Callable[..., Any]) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """The same with the options of a study file before the dataclass's own; `make` gets both: (own fields, flat study values)."""

    def decorate(command: Callable[[Any], None]) -> Callable[..., None]:
        hints = get_type_hints(value, include_extras=True)
        own = {field.name: field for field in fields(value)}
        first = [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=hints[name])
            for name, field in own.items()
        ]

        def run(**said: Any) -> None:
            mine = {name: said.pop(name) for name in own}
            for key in [key for key in said if key.endswith(OLD)]:
                name = key.removesuffix(OLD)
                said[name] = of_either_name(said.get(name), said.pop(key), name)
            command(make(value(**mine), said))

        return _with_signature(command, [first[0], *study_parameters(), *first[1:]], run)

    return decorate


OLD = "__old"


def of_either_name(new: Any, old: Any, key: str) -> Any:
    """The value of an option of study files that may be given under its old name, which is said to be old.

    Raises:
        UsageError: it is given under both.
    """
    if old is None:
        return new
    if new is not None:
        raise UsageError("an option is given under its old and its new name", "leave the old name out")
    flag = next(option.flag for option in options_of(StudySpec) if option.key == key)
    typer.echo(f"{flag.old} is now called {flag.name}; the old name goes on working", err=True)
    return old


def study_parameters() -> Iterator[inspect.Parameter]:
    """One parameter per option of a study file, in the fields' order; deprecated names are hidden."""
    for option in options_of(StudySpec):
        flag = option.flag
        limits: Any = {} if flag.minimum is None else {"min": int(flag.minimum) if option.type is int else flag.minimum}
        shown = typer.Option(flag.name, help=flag.help, metavar=flag.metavar, **limits)
        yield Parameter(
            option.key, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Annotated[option.type | None, shown]
        )
        if flag.old:
            hidden = typer.Option(flag.old, hidden=True, **limits)
            yield Parameter(
                option.key + OLD,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=None,
                annotation=Annotated[option.type | None, hidden],
            )


def _with_signature(
    command: Callable[..., None], parameters: list[inspect.Parameter], run: Callable[..., None]
) -> Callable[..., None]:
    ordered = sorted(parameters, key=lambda each: each.default is not Parameter.empty)
    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in ordered}
    return run
