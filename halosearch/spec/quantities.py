"""Budgets and durations as people write them: 20M, 4G, 2h, 90s."""

from __future__ import annotations

import re

from pydantic import ByteSize, TypeAdapter, ValidationError

from halosearch.errors import UsageError

COUNT = re.compile(r"(\d{1,3}(?:[,_]\d{3})+|\d+)(\.\d+)?([KMG]?)", re.IGNORECASE)
"""Commas stand before groups of three only: 7,5M is no number here, and would be one of two elsewhere."""
COUNT_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
DURATION_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_count(text: str, what: str) -> int:
    """A whole number with K, M or G behind it.

    Raises:
        UsageError: anything else.
    """
    match = COUNT.fullmatch(text.strip())
    whole = re.sub("[,_]", "", match[1]) if match else "0"
    value = round(float(whole + (match[2] or "")) * COUNT_UNITS[match[3].upper()]) if match else 0
    if value <= 0:
        raise UsageError(
            f"{what} {text!r} is not a number with K, M or G", "for example 300K, 20M, 19.1M, 5,288,548 or 4G"
        )
    return value


def parse_bytes(text: str, what: str) -> int:
    """Bytes of a size such as 500MB or 8GiB.

    Raises:
        UsageError: anything else.
    """
    try:
        value = int(TypeAdapter(ByteSize).validate_python(text.strip()))
    except ValidationError:
        value = 0
    if value <= 0:
        raise UsageError(f"{what} {text!r} is not a size", "for example 500MB or 8GiB")
    return value


def parse_duration(text: str, what: str) -> float:
    """Seconds of a duration such as 90s, 10m, 2h.

    Raises:
        UsageError: anything else.
    """
    match = DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * DURATION_UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{what} {text!r} is not a duration", "for example 90s, 10m, 2h")
    return seconds


def parse_tolerance(text: str, what: str = "--tolerance") -> float:
    """A share such as 5% or 0.05, between 0 and 1.

    Raises:
        UsageError: anything else.
    """
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UsageError(f"{what} {text!r} is not a share between 0 and 1", "for example 5% or 0.05")
    return value


def parse_rivals(text: str, flag: str) -> tuple[str, ...]:
    """Words between spaces or semicolons: a comma belongs to a network's notation.

    Raises:
        UsageError: nothing is said.
    """
    words = tuple(text.replace(";", " ").split())
    if not words:
        raise UsageError(f"{flag} says nothing", f"{flag} nearest, none, or 'efficientnet-b0 resnet-50'")
    return words
