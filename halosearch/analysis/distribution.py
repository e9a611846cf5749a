"""How good a whole pool is: the distribution of scores among candidates drawn evenly (Radosavovic et al., arXiv:1905.13214).

Only the trials that were drawn evenly stand for the pool; those that a sampler chose are better than it and would flatter it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

CONFIDENCE = 0.95


def score_distribution(scores: Sequence[float], drawn: int) -> dict[str, Any] | None:
    """Share of even draws that score at least so much, with the Dvoretzky-Kiefer-Wolfowitz band (Massart's constant).

    Args:
        scores: of the even draws that gave one.
        drawn: how many even draws have ended; those without a score count as below all others.

    Returns: n, drawn, half-width of the band, and points (score, share at or above it), best first; None for no draw.
    """
    if not drawn:
        return None
    ordered = sorted(scores, reverse=True)
    last = {score: place for place, score in enumerate(ordered)}  # of equal scores all are at least as good
    return {
        "n": len(ordered),
        "drawn": drawn,
        "half_width": min(1.0, math.sqrt(math.log(2 / (1 - CONFIDENCE)) / (2 * drawn))),
        "points": [[score, (place + 1) / drawn] for score, place in last.items()],
    }
