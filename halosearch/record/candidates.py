"""The network that a row is of, from what the row says it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halosearch.families.known import Config, candidate_text, config_of_dials, parse_candidate
from halosearch.record.evaluation import NETWORK, NETWORKS


def config_of(candidate: Mapping[str, Any]) -> Config:
    """A candidate by its dials, a rival by its notation."""
    found: Config = parse_candidate(candidate[NETWORK]) if NETWORK in candidate else config_of_dials(candidate)
    return found


def text_of(candidate: Mapping[str, Any]) -> str:
    """The same in words."""
    if NETWORKS in candidate:
        return "; ".join(candidate[NETWORKS])
    return candidate_text(config_of(candidate))
