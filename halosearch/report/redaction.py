"""What a page that is mailed around does not tell: folders of a machine, addresses of hosts."""

from __future__ import annotations

import re
from typing import Any

_PATH = re.compile(r"(?<![\w./~:-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\"<>|,;()]+[/\\])+([^\s/\\:'\"<>|,;()]*)")
_FILE_URL = re.compile(r"\b(?:file|sqlite|postgresql(?:\+\w+)?|mysql|https?|ssh|redis)://[^\s'\"<>]+")
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\w.])")
_AT = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\b")


def redacted(text: str) -> str:
    """The text without absolute folders (the last name stays), URLs, IP addresses, and names of users at hosts."""
    text = _FILE_URL.sub("[address]", text)
    text = _AT.sub("[address]", text)
    text = _PATH.sub(lambda found: f"…/{found[1]}", text)
    return _ADDRESS.sub("[address]", text)


def redact_all(value: Any) -> Any:
    """The same for every text inside plain JSON values; keys stay."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redact_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value
