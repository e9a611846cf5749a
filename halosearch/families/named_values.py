"""Candidates as `NAME:key=value,...`, for families that are written so: which name, which values, each given once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from halosearch.errors import UsageError


def named_values(text: str, keys: Sequence[str], example: str) -> tuple[str, dict[str, str]]:
    """The name before the colon, and the values behind it.

    Raises:
        UsageError: an unknown key, one without a value, one given twice.
    """
    name, _, rest = text.strip().lower().partition(":")
    values: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in rest.split(","))):
        key, equals, value = (each.strip() for each in part.partition("="))
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"{name} takes {', '.join(keys)}: {example}"
            raise UsageError(f"unknown value {key!r} of {name}", hint)
        if not equals or not value:
            raise UsageError(f"{key!r} of {name} has no value", f"for example {example}")
        if key in values:
            raise UsageError(f"{key!r} of {name} is given twice", "leave one of them out")
        values[key] = value
    return name, values


def whole(key: str, text: str, example: str) -> int:
    """A whole number from nought.

    Raises:
        UsageError: it is none.
    """
    if not text.isdecimal():
        raise UsageError(f"{key} does not take {text!r}", f"it takes a whole number, for example {example}")
    return int(text)


def number(key: str, text: str, example: str) -> float:
    """A positive number.

    Raises:
        UsageError: it is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found < 1e6:
        raise UsageError(f"{key} does not take {text!r}", f"it takes a positive number, for example {example}")
    return found
