"""What a family lets a study search: a space of dials, and how a row of them is a network."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from halosearch.errors import UsageError


@dataclass(frozen=True)
class SearchSpace:
    """Allowed values of every dial; a family's space is a frozen dataclass that adds its dials as tuples, none of them empty.

    `SHORT`: short names of the dials, in the order of the dials. `LOWEST`: of dials that take numbers, the least. `WHOLE`: dials that
    take whole numbers only. `WORDS`: what a dial takes beside numbers, or, where it has no lowest number, instead of them.

    Raises:
        UsageError: a dial is empty or holds a value outside its domain.
    """

    SHORT: ClassVar[Mapping[str, str]] = {"s": "image_size"}
    LOWEST: ClassVar[Mapping[str, float]] = {"image_size": 32}
    HIGHEST: ClassVar[Mapping[str, float]] = {}
    WHOLE: ClassVar[frozenset[str]] = frozenset({"image_size"})
    WORDS: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    image_size: tuple[int, ...] = (48, *range(64, 641, 32), 600)

    def __post_init__(self) -> None:
        """Refuse values that no network can have."""
        for name in self.dials():
            values = getattr(self, name)
            if not values:
                raise UsageError(
                    f"dial {name} of the search space has no value", "leave the dial out to get its default"
                )
            for value in values:
                self._check(name, value)
            object.__setattr__(self, name, tuple(sorted(set(values), key=_order)))

    @classmethod
    def dials(cls) -> tuple[str, ...]:
        """Names of the dials, in order."""
        return tuple(cls.SHORT.values())

    def _check(self, name: str, value: object) -> None:
        words = self.WORDS.get(name, ())
        if value in words:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in self.LOWEST or not number:
            raise UsageError(f"dial {name} does not take {value!r}", f"it takes {' or '.join(words) or 'numbers'}")
        assert isinstance(value, int | float)
        low, high = self.LOWEST[name], self.HIGHEST.get(name)
        if name in self.WHOLE and value != int(value):
            raise UsageError(f"dial {name} does not take {value!r}", f"it takes whole numbers from {low:g}")
        if value < low or (high is not None and value > high):
            kind = "whole numbers" if name in self.WHOLE else "numbers"
            raise UsageError(
                f"dial {name} does not take {value!r}",
                f"it takes {kind} from {low:g}" if high is None else f"it takes {low:g} to {high:g}",
            )

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values (JSON, YAML) under the dials' names."""
        return {field.name: list(getattr(self, field.name)) for field in fields(self)}

    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any dial."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
        """This space with some dials replaced; short names are accepted, "none" is 0.

        Raises:
            UsageError: an unknown dial or a value outside its domain.
        """
        resolved: dict[str, Any] = {}
        for key, value in overrides.items():
            name = self.SHORT.get(key, key)
            if name not in self.dials():
                close = difflib.get_close_matches(key, [*self.dials(), *self.SHORT], n=1)
                raise UsageError(
                    f"unknown dial {key!r} in the search space",
                    f"did you mean {close[0]!r}?" if close else f"dials are {', '.join(self.dials())}",
                )
            if name in resolved:
                raise UsageError(f"dial {name} of the search space is given twice", "give it once")
            values = value if isinstance(value, list | tuple) else [value]
            resolved[name] = tuple(0 if v in (None, "none") else v for v in values)
        return replace(self, **resolved)


def _order(value: float | str) -> tuple[bool, float, str]:
    """Numbers first, then words."""
    word = isinstance(value, str)
    return word, 0.0 if word else float(value), str(value)


@dataclass(frozen=True, slots=True)
class Search:
    """How a family is searched.

    `space`: the default space's class. `config`: the network of a row of dials. `dials`: the row of a network, None where the dials
    cannot say it. `published`: members by name, the nearest to a budget being a study's reference. `corners`: the dials at whose ends
    a rule for learning rates is most likely to fail: of the first the largest value, of the second both ends.
    """

    space: type[SearchSpace]
    config: Callable[[Mapping[str, Any]], Any]
    dials: Callable[[Any], dict[str, Any] | None]
    published: Mapping[str, Any]
    corners: tuple[str, str]
