"""What a study tells its search of a candidate beyond score and cost: the seconds that a trial of it should take."""

from __future__ import annotations

import numpy as np

FIXED_SHARE = 0.3
"""Share of a middling trial's time taken not to depend on its MACs: an assumption. With the timing of steps in it the recorded
trials of studies/table-6M had 0.43 (median, n = 130, two CPU cores); a trial stopped early is not timed."""


def trial_seconds(macs: np.ndarray) -> np.ndarray:
    """Expected time of a trial by the MACs of what it trains, in units of the middling trial: computed, so that it never varies."""
    return np.asarray(FIXED_SHARE + (1 - FIXED_SHARE) * macs / np.median(macs))
