"""What a study file asks its planner for: the design of the search, and its price in trainings, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from halosearch.cost.pools import pool_twin_macs
from halosearch.families.known import search_of
from halosearch.search.planner import SearchDesign
from halosearch.search.pool import Pool
from halosearch.search.pool_sampler import Guidance
from halosearch.search.reference import reference_dials
from halosearch.search.repeats import ANCHORS, RATES, Repeats
from halosearch.search.sampler import Guide
from halosearch.search.schedule import Shape
from halosearch.spec.study import POOL, StudySpec

GUIDE_COST = "macs"
"""The cost that guides the search: exact, and the same on every machine. The front is by measured step time."""
FIXED_SHARE = 0.3
"""Share of a middling trial's time taken not to depend on its MACs: an assumption. With the timing of steps in it the recorded
trials of studies/table-6M had 0.43 (median, n = 130, two CPU cores); a trial stopped early is not timed."""

TIMED_SHARE = 0.25
"""Share of the candidates that are on or near the front, about: for the progress bar."""


def trial_seconds(macs: np.ndarray) -> np.ndarray:
    """Expected time of a trial by the MACs of what it trains, in units of the middling trial: computed, so that it never varies."""
    return np.asarray(FIXED_SHARE + (1 - FIXED_SHARE) * macs / np.median(macs))


def design_of(spec: StudySpec, pool: Pool, *, force: bool = False) -> SearchDesign:
    """The design of a search study; the pool is all that its budget admits."""
    preset = spec.preset
    seconds = (
        trial_seconds(pool_twin_macs(spec.family, pool.rows, preset.width_multiplier)) if spec.sampler == POOL else None
    )
    eta = preset.eta if spec.sampler == POOL else 0
    rungs = preset.rungs if eta else preset.rungs[-1:]
    guide = Guide(GUIDE_COST, Guidance(tuple(map(float, rungs)), seconds, reference=0.0))
    return SearchDesign(
        Shape(spec.trials, spec.uniform, len(preset.rungs) - 1, eta, spec.max_in_flight - 1),
        spec.sampler,
        guide,
        spec.seed,
        reference=reference_dials(pool, spec.family, spec.budget.params),
        timed=preset.timed != "none",
        time_front=preset.timed == "front",
        repeats=repeats_of(spec),
        rivals=spec.rivals,
        force=force,
    )


def repeats_of(spec: StudySpec) -> Repeats:
    """The repeats that a study asks for."""
    preset = spec.preset
    corner = search_of(spec.family).corners
    return Repeats(spec.retests, preset.anchor_seeds, preset.rates, preset.finalists, preset.final_seeds, corner)


@dataclass(frozen=True, slots=True)
class Price:
    """Trainings by purpose. `searched` begin at the first rung; about `promoted` of them go on to the last, in `climbs` steps."""

    uniform: int
    searched: int
    promoted: int
    climbs: int
    retests: int
    anchors: int
    rates: int
    finals: int
    rivals: int
    timings: int

    @property
    def rows(self) -> int:
        """Rows that will have ended, about: one per rung of a trial, retest, rate, step time, final, the reference and the anchor model."""
        return self.uniform + self.searched + self.climbs + self.checks + self.timings + self.finals + self.rivals + 2

    @property
    def checks(self) -> int:
        """Trainings that test the proxy and propose nothing."""
        return self.retests + self.anchors + self.rates

    @property
    def whole(self) -> float:
        """Trainings to the last rung, about."""
        return self.uniform + self.promoted + self.checks + self.finals + self.rivals + 1

    def words(self) -> str:
        """The price in words."""
        return (
            f"{self.uniform} candidates drawn evenly; the proxy is tested on them by {self.checks} more trainings "
            f"({self.retests} with a second seed, {self.anchors} with further seeds, {self.rates} with other learning rates); "
            f"then {self.searched} searched, about {self.promoted} of them to the end, {self.finals} trainings of finalists "
            f"and {self.rivals} of rivals."
        )


def price_of(spec: StudySpec) -> Price:
    """How many trainings a study asks for, if none fails."""
    preset, uniform = spec.preset, min(spec.uniform, spec.trials)
    searched, retests, rungs = spec.trials - uniform, min(spec.retests, uniform), len(spec.preset.rungs)
    rising = spec.sampler == POOL and preset.eta > 0
    climbs = [searched // preset.eta**rung for rung in range(1, rungs)] if rising else []
    promoted = searched if not rising else searched // preset.eta ** (rungs - 1)
    anchors = ANCHORS * max(0, preset.anchor_seeds - 2) if retests >= ANCHORS else 0
    rates = len(RATES) * min(preset.rates, uniform)
    finals = min(preset.finalists, uniform + promoted) * preset.final_seeds
    timings = TIMED_SHARE * (uniform + promoted) if preset.timed == "front" else 0
    rivals = len(spec.rivals) * (1 + preset.final_seeds)
    return Price(uniform, searched, promoted, sum(climbs), retests, anchors, rates, finals, rivals, round(timings))
