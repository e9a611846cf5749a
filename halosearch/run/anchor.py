"""Step times in seconds: the ratio to the anchor model, measured in the same rounds, times the anchor's own time.

The ratio is what survives other workers' load. The anchor's time is measured once, by a worker, before anything else runs.
"""

from __future__ import annotations

import math
from typing import Any

from halosearch.errors import EnvironmentFault

MAY_DIFFER = ("halosearch", "python")
HINT = "continue it where it began, or start another study with --name"


def check_device(anchor: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse to mix step times of two devices, thread counts or versions of torch.

    Raises:
        EnvironmentFault: they differ.
    """
    there = anchor["device"]
    changed = [key for key in here if there.get(key, here[key]) != here[key] and key not in MAY_DIFFER]
    if changed:
        raise EnvironmentFault(
            f"step times of this study were measured with {changed[0]} {there.get(changed[0])}; here it is "
            f"{here[changed[0]]}, and the two cannot be compared",
            HINT,
        )


def in_seconds(step_time: dict[str, Any], anchor: dict[str, Any]) -> dict[str, float]:
    """A measured ratio in seconds of the anchor; its interval holds the doubt of both (added in squares, as logarithms)."""
    ratio, seconds = step_time["ratio_to_anchor"], anchor["seconds"]
    median = ratio["median"] * seconds["median"]
    low, high = (
        math.hypot(*(math.log(each[bound] / each["median"]) for each in (ratio, seconds))) for bound in ("low", "high")
    )
    return {
        "step_time_s": median,
        "step_time_low_s": median * math.exp(-low),
        "step_time_high_s": median * math.exp(high),
    }
