"""A star of arms: one field at a time varied around a centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from halosearch.errors import UsageError
from halosearch.families.known import candidate_text, parse_candidate
from halosearch.spec.experiment import Arm, Experiment, arms_of

CENTRE = "centre"
EXAMPLE = "for example --vary l3=1,2,4,8"


def varied(texts: Sequence[str]) -> dict[str, list[str]]:
    """Fields and their values from `l3=1,2,4,8`; values are positive numbers, for a law is fitted to their logarithms.

    Raises:
        UsageError: another text, too few values, or one that is no positive number.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.replace(" ", "").partition("=")
        words = [word for word in values.split(",") if word]
        if not equals or not name or name in found:
            raise UsageError(f"--vary cannot be {text!r}", EXAMPLE)
        for word in words:
            if not _is_positive(word):
                raise UsageError(f"--vary {text}: {word!r} is no positive number, and has no logarithm", EXAMPLE)
        found[name] = list({float(word): word for word in words}.values())
    if not found:
        raise UsageError("a star needs something to vary", EXAMPLE)
    return found


def _is_positive(word: str) -> bool:
    try:
        return float(word) > 0
    except ValueError:
        return False


def star_arms(centre: str, vary: Mapping[str, Sequence[str]]) -> tuple[Arm, ...]:
    """The centre, then every value of every field that is another network, each named `field=value`."""
    network = candidate_text(parse_candidate(centre))
    others = arms_of(network, {name: list(values) for name, values in vary.items()}, {})
    return (Arm(name=CENTRE, network=network), *(arm for arm in others if arm.network != network))


def values_of(experiment: Experiment, field_name: str) -> dict[int, float]:
    """The value of a varied field by arm: of the arms that vary it, and of the centre."""
    found = {}
    for place, arm in enumerate(experiment.arms):
        name, _, value = arm.name.partition("=")
        if name == field_name:
            found[place] = float(value)
    if experiment.arms and experiment.arms[0].name == CENTRE:
        own = dict(
            part.split("=", 1) for part in experiment.arms[0].network.rpartition(":")[2].split(",") if "=" in part
        )
        if field_name in own and _is_positive(own[field_name]):
            found[0] = float(own[field_name])
    return found
