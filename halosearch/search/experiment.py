"""Which evaluation comes next in an experiment: every arm with the first seed, then every arm with the second; step times beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from halosearch.analysis.expectations import SCORE, STEP_TIME, Expectation, parse_expectation
from halosearch.families.known import count, parse_candidate
from halosearch.record.evaluation import ARM, NETWORK, NETWORKS, RECIPE, RUNNING, STEP_TIMES, Evaluation
from halosearch.search.planner import DECIDED, FINISHED, WAIT, Plan
from halosearch.search.repeats import SEED_STEP
from halosearch.spec.experiment import Experiment


def rows_of(experiment: Experiment, seed: int) -> list[Evaluation]:
    """All rows of an experiment, in order, without id: seeds run slowest, so that whatever ends early is balanced.

    Nothing is trained where no expectation is of scores. All arms of a seed see the same pictures in the same order. Step times are
    of all arms that an expectation names, in the same rounds.
    """
    costs = [asdict(count(parse_candidate(arm.network))) for arm in experiment.arms]
    found = []
    timed, seeds = timed_arms(experiment), trainings_of(experiment)
    for repeat in range(1, max(seeds, experiment.timing_rows if timed else 0) + 1):
        if repeat <= seeds:
            for place, arm in enumerate(experiment.arms):
                candidate = {NETWORK: arm.network} | ({RECIPE: dict(arm.recipe)} if arm.recipe else {})
                found.append(
                    Evaluation(-1, ARM, candidate, costs[place], seed + SEED_STEP * (repeat - 1), place, repeat=repeat)
                )
        if timed and repeat <= experiment.timing_rows:
            found.append(Evaluation(-1, STEP_TIMES, {NETWORKS: dict(timed)}, trial=0, repeat=repeat))
    return found


def trainings_of(experiment: Experiment) -> int:
    """Trainings of every arm: as many as there are seeds, none where no expectation is of scores."""
    needed = experiment.ladder or any(each.metric == SCORE for each in _expected(experiment))
    return experiment.seeds if needed else 0


def _expected(experiment: Experiment) -> list[Expectation]:
    names = [arm.name for arm in experiment.arms]
    return [parse_expectation(text, names) for text in experiment.expect]


def timed_arms(experiment: Experiment) -> Mapping[str, str]:
    """The networks by arm whose step times are compared; of a ladder that times its shapes all but those that check a forecast."""
    if experiment.time_arms:
        return {arm.name: arm.network for arm in experiment.arms if not arm.check}
    named = {arm for each in _expected(experiment) if each.metric == STEP_TIME for arm in each.weights}
    return {arm.name: arm.network for arm in experiment.arms if arm.name in named}


@dataclass(frozen=True, slots=True)
class ExperimentPlanner:
    """Plans an experiment: whatever is not in the table yet, in order."""

    experiment: Experiment
    seed: int

    def plan(self, rows: Sequence[Evaluation]) -> Plan:
        """The next decision."""
        there = {row.repeats for row in rows}
        timed = [row for row in rows if row.kind == STEP_TIMES]
        covering = [row for row in timed if set(timed_arms(self.experiment)) <= set(row.candidate[NETWORKS])]

        def is_there(row: Evaluation) -> bool:
            """Step times count where all arms that are compared now were timed together."""
            return len(covering) >= row.repeat if row.kind == STEP_TIMES else row.repeats in there

        missing = next((row for row in rows_of(self.experiment, self.seed) if not is_there(row)), None)
        if missing is not None and missing.kind == STEP_TIMES:
            missing = replace(missing, repeat=1 + max((row.repeat for row in timed), default=0))
        if missing is not None:
            return Plan(DECIDED, replace(missing, id=len(rows)))
        return Plan(WAIT if any(row.state == RUNNING for row in rows) else FINISHED)
