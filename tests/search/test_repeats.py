import itertools

import pytest

from benchmarks.report_trials import rows_of
from halosearch.record.evaluation import HELD_OUT, RATE, RETEST
from halosearch.run.begin import request, resolve
from halosearch.search.design import price_of, repeats_of
from halosearch.search.repeats import checks, finals
from halosearch.search.sampler import Outcome
from halosearch.spec.presets import PRESETS
from tests.report.test_page import trial


def spec_of(preset="cpu-6h", **flags):
    return resolve(request(budget_params=20_000_000, name="x", device="cpu", preset=preset, **flags), lambda _: "cpu")[
        0
    ]


def dials(number):
    return {"stage3_depth": 1 + number % 7, "expansion_ratio": 1.0 + number % 5}


def asked(spec, known):
    return checks(repeats_of(spec), min(spec.uniform, spec.trials), spec.seed, known, dials)


def outcomes(count, failed=()):
    return {n: Outcome(None) if n in failed else Outcome((0.1, 0.2), 1.0 + (n * 7) % 11) for n in range(count)}


def test_checks_grow_with_what_is_known_and_never_change():
    spec = spec_of()
    known = [asked(spec, outcomes(n, failed=(1,))) for n in range(spec.preset.uniform + 1)]
    for before, after in itertools.pairwise(known):
        assert [row.key for row in before] == [row.key for row in after][: len(before)]
    whole = known[-1]
    kinds = [row.kind for row in whole]
    assert kinds.count(RATE) == 6
    assert (
        kinds.count(RETEST) == (spec.preset.uniform - 1) + 3 * 3
    )  # all but the one that failed; three with three seeds more
    assert all(row.trial != 1 for row in whole)
    assert len({row.key for row in whole}) == len(whole)
    assert {row.rate for row in whole if row.kind == RATE} == {0.5, 2.0}
    by_seed = {}
    for row in whole:
        by_seed.setdefault(row.trial, []).append((row.seed, row.rate))
    assert all(len(set(pairs)) == len(pairs) and (spec.seed, 1.0) not in pairs for pairs in by_seed.values())


def test_a_gap_in_the_outcomes_holds_the_checks_back():
    spec = spec_of()
    some = outcomes(10)
    del some[3]
    assert {row.trial for row in asked(spec, some)} == {0, 1, 2}


@pytest.mark.parametrize("preset", ["cpu-2m", "cpu-10m", "cpu-1h", "cpu-6h"])
def test_the_price_is_what_will_be_asked_for(preset):
    spec = spec_of(preset)
    price = price_of(spec)
    assert price.checks == len(asked(spec, outcomes(price.uniform)))
    assert price.uniform + price.searched == spec.trials
    assert str(price.checks) in price.words()


def test_only_the_sampler_random_draws_all_evenly():
    assert price_of(spec_of("cpu-10m", sampler="random")).searched == 0
    preset = PRESETS["cpu-10m"]
    assert price_of(spec_of("cpu-10m")).searched == preset.trials - preset.uniform > 0
    assert price_of(spec_of("cpu-10m", sampler="tpe")).promoted == preset.trials - preset.uniform


def test_finalists_are_the_best_of_the_front_each_with_new_seeds():
    spec = spec_of("cpu-6h")
    trials = [trial(n, score=0.1 + 0.01 * n, step=1.0 + (n % 3)) for n in range(10)]
    rows = finals(repeats_of(spec), spec.seed, rows_of(trials, {}))
    assert [row.trial for row in rows[:: spec.preset.final_seeds]] == [9, 8, 7, 6]  # 9 is the whole front
    assert {row.kind for row in rows} == {HELD_OUT}
    assert len({row.seed for row in rows}) == spec.preset.final_seeds
    used = {row.seed for row in asked(spec, outcomes(40))} | {spec.seed}
    assert not used & {row.seed for row in rows}
