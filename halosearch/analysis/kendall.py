"""Kendall's tau-b in numpy: scipy's own takes a second to import, which commands that only read do not have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of paired numbers, ties counted; NaN where one side has no two different values."""
    a, b = (np.sign(np.subtract.outer(side, side)) for side in (np.asarray(first, float), np.asarray(second, float)))
    pairs_a, pairs_b = float(np.abs(a).sum()), float(np.abs(b).sum())
    return float((a * b).sum()) / math.sqrt(pairs_a * pairs_b) if pairs_a and pairs_b else math.nan
