"""The published models near a budget: which is nearest, and which of them a study can be compared with."""

from __future__ import annotations

from halosearch.cost.candidate_pool import Limits
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import DIALS, dials_from_config
from halosearch.spec.study import StudySpec

TOLERANCE = 0.05


def nearest_published(params: int) -> str:
    """The published model whose parameter count is nearest to a budget, by ratio."""
    models = {
        name: count(config).params for name, config in FAMILY.items() if name.startswith("h") and name[1:].isdigit()
    }
    return min(
        models, key=lambda name: abs(models[name] / params - 1) if models[name] >= params else params / models[name] - 1
    )


def comparison_with_published(spec: StudySpec) -> list[str]:
    """One sentence for every H model near this budget: whether the study's candidate pool holds it, and if not, why."""
    sentences = []
    budget = spec.budget
    low, high = Limits(budget.params, budget.tolerance).params_range()
    for name, config in FAMILY.items():
        cost = count(config)
        if not name[1:].isdigit() or abs(cost.params / budget.params - 1) > max(TOLERANCE, budget.tolerance):
            continue
        reasons = _outside(spec, config)
        if not low <= cost.params <= high:
            reasons.append(f"has {cost.params:,} parameters, outside the budget")
        if budget.max_macs is not None and cost.macs > budget.max_macs:
            reasons.append(f"has {cost.macs:,} MACs, above the ceiling")
        sentences.append(
            f"{name.upper()} ({cost.params:,} parameters) is a candidate of this study."
            if not reasons
            else f"{name.upper()} {' and '.join(reasons)}, so it is not compared with."
        )
    return sentences


def _outside(spec: StudySpec, config: HaloNetConfig) -> list[str]:
    """Which dials of a published model this study does not search."""
    space, dials = spec.search_space(), dials_from_config(config)
    assert dials is not None
    missing = [dial for dial in DIALS if dials[dial] not in getattr(space, dial)]
    sizes = space.image_size
    reasons = []
    if "image_size" in missing:
        reasons.append(
            f"needs {config.image_size}-pixel images and this study's preset ({spec.preset.name}) searches {min(sizes)} to {max(sizes)}"
        )
    others = [f"{dial} {dials[dial]}" for dial in missing if dial != "image_size"]
    return reasons + ([f"has {', '.join(others)}, which this study's space leaves out"] if others else [])
