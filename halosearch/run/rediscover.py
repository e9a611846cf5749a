"""A study that asks whether a published member is found again: its budget, at its cost, and the member trained beside, never told of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.known import FAMILIES, candidate_text, count
from halosearch.record.folders import Folders, folders_of
from halosearch.run.begin import Request, ResolveDevice, is_begun, resolve
from halosearch.spec.study import StudySpec, make_spec

TOLERANCE, MACS_MARGIN = 0.02, 1.05
SIZES_FROM = 3
"""Image sizes from so many steps below the member's are searched, up to the member's own."""
DESIGN = {"trials": 64, "retests": 44}
PRESET = {"uniform": 44, "retests": 44, "finalists": 1, "final_seeds": 5}
"""Forty candidates drawn evenly and trained twice (R0) and a few more, for some may fail; the best found and the member with five more seeds each."""


def members() -> dict[str, str]:
    """Published members by name, with the family of each."""
    return {name: family.name for family in FAMILIES.values() if family.search for name in family.search.published}


def rediscovery_spec(
    member: str, root: Path, said: Mapping[str, Any], resolve_device: ResolveDevice
) -> tuple[StudySpec, Folders, bool]:
    """The study that asks for a member, its folders, and whether it was begun.

    Raises:
        UsageError: there is no such member.
    """
    name = member.lower()
    if name not in members():
        raise UsageError(
            f"{member} is no published member that can be searched for", f"members are {', '.join(members())}"
        )
    family = members()[name]
    search = FAMILIES[family].search
    assert search is not None
    config = search.published[name]
    folders = folders_of(root, f"rediscover-{name}")
    if is_begun(folders):
        again = {k: v for k, v in said.items() if v is not None and k != "preset"}
        again |= {"preset": {"name": said["preset"]}} if said.get("preset") else {}
        spec, _, _ = resolve(Request(f"rediscover-{name}", root, again), resolve_device)
        return spec, folders, True
    cost = count(config)
    values = {
        "name": f"rediscover-{name}",
        "family": family,
        "budget": {"params": cost.params, "tolerance": TOLERANCE, "max_macs": int(MACS_MARGIN * cost.macs)},
        "rivals": ["none"],
        **DESIGN,
        **{key: value for key, value in said.items() if value is not None and key != "preset"},
    }
    sizes = sorted({size for size in search.space().image_size if size <= config.image_size} | {config.image_size})
    wanted = {
        "space": {"image_size": sizes[-SIZES_FROM - 1 :]},
        "preset": {**({"name": said["preset"]} if said.get("preset") else {}), **PRESET},
    }
    spec, _, _ = resolve(Request(None, root, values | wanted), resolve_device)
    whole = spec.model_dump(mode="json") | {"rivals": [candidate_text(config)], "rediscover": name}
    return make_spec(whole), folders, False
