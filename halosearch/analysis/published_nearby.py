"""The published members of a family near a budget: which of them a study can be compared with."""

from __future__ import annotations

from halosearch.cost.candidate_pool import Limits
from halosearch.families.known import Config, count, member_title, search_of
from halosearch.spec.study import StudySpec

TOLERANCE = 0.05


def comparison_with_published(spec: StudySpec) -> list[str]:
    """One sentence for every published member near this budget: whether the study's candidate pool holds it, and if not, why."""
    sentences = []
    budget = spec.budget
    low, high = Limits(budget.params, budget.tolerance).params_range()
    for name, config in search_of(spec.family).published.items():
        cost = count(config)
        if abs(cost.params / budget.params - 1) > max(TOLERANCE, budget.tolerance):
            continue
        reasons = _outside(spec, config)
        if not low <= cost.params <= high:
            reasons.append(f"has {cost.params:,} parameters, outside the budget")
        if budget.max_macs is not None and cost.macs > budget.max_macs:
            reasons.append(f"has {cost.macs:,} MACs, above the ceiling")
        sentences.append(
            f"{member_title(name)} ({cost.params:,} parameters) is a candidate of this study."
            if not reasons
            else f"{member_title(name)} {' and '.join(reasons)}, so it is not compared with."
        )
    return sentences


def _outside(spec: StudySpec, config: Config) -> list[str]:
    """Which dials of a published model this study does not search."""
    space, dials = spec.search_space(), search_of(spec.family).dials(config)
    assert dials is not None
    missing = [dial for dial in space.dials() if dials[dial] not in getattr(space, dial)]
    sizes = space.image_size
    reasons = []
    if "image_size" in missing:
        reasons.append(
            f"needs {config.image_size}-pixel images and this study's preset ({spec.preset.name}) searches {min(sizes)} to {max(sizes)}"
        )
    others = [f"{dial} {dials[dial]}" for dial in missing if dial != "image_size"]
    return reasons + ([f"has {', '.join(others)}, which this study's space leaves out"] if others else [])
