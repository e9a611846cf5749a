"""Where a study in a database is kept, and how its address is shown."""

from __future__ import annotations

from dataclasses import dataclass

MARK = "mark"
"""The attribute by which a row is known that was added, although the answer was lost."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a study is kept: a database's URL, and the name of the study in it."""

    url: str
    study: str


def shown(text: str) -> str:
    """An address without its password and without what follows a question mark."""
    head, at, tail = text.partition("?")[0].rpartition("@")
    scheme, slashes, who = head.partition("://")
    return f"{scheme}{slashes}{who.partition(':')[0]}{at}{tail}" if at else tail
