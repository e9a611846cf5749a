"""What every page of ours is wrapped in: style, scripts with their hashes, data that cannot end its element."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from halosearch import __version__
from halosearch.report.numbers import seconds_words, short_number
from halosearch.report.terms import GLOSSARY, TERMS, meaning

CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "doubleClick": False,
}
"""For every Plotly chart: nothing may be sent anywhere."""
SCRIPTS = ("trials.js", "selection.js", "marks.js", "charts.js", "filters.js", "table.js", "live.js", "page.js")


def page(template: str, title: str, data: dict[str, Any] | None, **values: Any) -> str:
    """A template filled in; the same values give the same text."""
    script = f'"use strict";\n{"".join(_asset(name) for name in SCRIPTS)}'
    library = get_plotlyjs()
    hashes = " ".join(f"'sha256-{base64_text(hashlib.sha256(text.encode()).digest())}'" for text in (script, library))
    shared: dict[str, Any] = {
        "glossary": GLOSSARY,
        "hashes": hashes,
        "script": script,
        "style": _asset("page.css"),
        "title": title,
        "version": __version__,
    }
    if data is not None:
        shared |= {"data": json_text(data), "library": _packed_library()}
    return _environment().get_template(template).render(**shared, **values)


@functools.cache
def _packed_library() -> str:
    """plotly.js of the installed package, packed: a third of the size, and hashed as it runs."""
    return base64_text(gzip.compress(get_plotlyjs().encode(), 9, mtime=0))


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("halosearch.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = seconds_words
    environment.filters["short"] = short_number
    environment.filters |= {"slug": slug, "meaning": meaning, "explained": TERMS.__contains__, "dials": dials_in}
    return environment


@functools.cache
def _asset(name: str) -> str:
    return resources.files("halosearch.report").joinpath("assets", name).read_text(encoding="utf-8")


def slug(word: str) -> str:
    """A word as part of an element's id."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in word)


def dials_in(text: str) -> list[tuple[str, str]]:
    """A candidate's notation as (name, value) pairs; a name alone has no value."""
    head, colon, rest = text.partition(":")
    named = [(head, "")] if colon and "=" not in head else []
    parts = (rest if named or colon else text).split(",")
    pairs = [part.partition("=") for part in parts if part]
    return named + [(name, value) for name, _, value in pairs]


def base64_text(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode()


def json_text(value: Any) -> str:
    """JSON that cannot end its script element or open a comment."""
    return (
        json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
