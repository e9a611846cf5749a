"""What a study will do, counted before it begins: trials, checks of the proxy, finals."""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.search.checks import ANCHORS, RATES, uniform_trials
from halosearch.search.sampler import POOL
from halosearch.spec.study import StudySpec


@dataclass(frozen=True, slots=True)
class Price:
    """Trainings by purpose. `searched` begin at the first rung; about `promoted` of them go on."""

    uniform: int
    searched: int
    promoted: int
    retests: int
    anchors: int
    rates: int
    finals: int

    @property
    def jobs(self) -> int:
        """Ends that the terminal will see: one per trial, retest, rate, final, and the reference model."""
        return self.uniform + self.searched + self.checks + self.finals + 1

    @property
    def checks(self) -> int:
        """Trainings that test the proxy and propose nothing."""
        return self.retests + self.anchors + self.rates

    @property
    def whole(self) -> float:
        """Trainings to the last rung, about."""
        return self.uniform + self.promoted + self.checks + self.finals + 1

    def words(self) -> str:
        """The price in words."""
        return (
            f"{self.uniform} candidates drawn evenly; the proxy is tested on them by {self.checks} more trainings "
            f"({self.retests} with a second seed, {self.anchors} with further seeds, {self.rates} with other learning rates); "
            f"then {self.searched} searched, about {self.promoted} of them to the end, and {self.finals} trainings of finalists."
        )


def price_of(spec: StudySpec) -> Price:
    """How many trainings a study asks for, if none fails."""
    tier, uniform = spec.tier, min(uniform_trials(spec), spec.trials)
    searched, retests = spec.trials - uniform, min(spec.retests, uniform)
    promoted = searched if spec.sampler != POOL or not tier.eta else searched // tier.eta ** (len(tier.rungs) - 1)
    anchors = ANCHORS * max(0, tier.anchor_seeds - 2) if retests >= ANCHORS else 0
    rates = len(RATES) * min(tier.rates, uniform)
    return Price(
        uniform, searched, promoted, retests, anchors, rates, min(tier.finalists, uniform + promoted) * tier.final_seeds
    )
