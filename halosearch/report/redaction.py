"""What a page that is mailed around does not tell: folders of a machine, addresses of hosts."""

from __future__ import annotations

import re
from typing import Any

_NAME = r"[^\s/\\:'\"<>|,;()]"
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_HOME = re.compile(rf"(?:(?<![A-Za-z])[A-Za-z]:)?[/\\](?:home|Users)[/\\]{_NAME}+|(?<![\w.])~[\w.-]*(?=[/\\])")
_PATH = re.compile(
    rf"(?<![\w.…/])(?:(?<![A-Za-z])[A-Za-z]:)?[/\\](?:{_NAME}+[/\\])+({_NAME}*)|~+[/\\](?:{_NAME}+[/\\])*({_NAME}*)"
)
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\w.])")
_IP6 = re.compile(
    r"(?<![\w:])(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F:]*)(?![\w:])"
)
_AT = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\b")


def redacted(text: str) -> str:
    """The text without folders (the last name of a path stays), URLs, IP addresses, and user@host.

    Bare names of hosts look like any other word and stay: whoever writes a reason into a record leaves them out.
    """
    for pattern in (_URL, _AT):
        text = pattern.sub("[address]", text)
    text = _HOME.sub("~", text)
    text = _PATH.sub(lambda found: f"…/{found[1] or found[2] or ''}", text)
    for pattern in (_IP, _IP6):
        text = pattern.sub("[address]", text)
    return text


def redact_all(value: Any) -> Any:
    """The same for every text inside plain JSON values; keys stay."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redact_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value
