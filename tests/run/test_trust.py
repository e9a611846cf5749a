import itertools

import pytest
from halosearch.run.jobs import FINAL, RATE, RETEST
from halosearch.search.checks import checks, finals, may_search
from halosearch.search.price import price_of
from halosearch.spec.session import Request, resolve

from halosearch.search.sampler import Outcome


def spec_of(preset="cpu-6h", **flags):
    return resolve(Request(params=20_000_000, name="x", device="cpu", preset=preset, **flags), lambda _: "cpu")[0]


def dials(number):
    return {"stage3_depth": 1 + number % 7, "expansion_ratio": 1.0 + number % 5}


def outcomes(count, failed=()):
    return {n: Outcome(None) if n in failed else Outcome((0.1, 0.2), 1.0 + (n * 7) % 11) for n in range(count)}


def test_checks_grow_with_what_is_known_and_never_change():
    spec = spec_of()
    known = [checks(spec, outcomes(n, failed=(1,)), dials) for n in range(spec.preset.uniform + 1)]
    for before, after in itertools.pairwise(known):
        assert [job.key for job in before] == [job.key for job in after][: len(before)]
    whole = known[-1]
    kinds = [job.kind for job in whole]
    assert kinds.count(RATE) == 6
    assert kinds.count(RETEST) == 39 + 3 * 3
    assert all(job.number != 1 for job in whole)
    assert len({job.key for job in whole}) == len(whole)
    assert {job.rate for job in whole if job.kind == RATE} == {0.5, 2.0}
    by_seed = {}
    for job in whole:
        by_seed.setdefault(job.number, []).append((job.seed, job.rate))
    assert all(len(set(pairs)) == len(pairs) and (spec.seed, 1.0) not in pairs for pairs in by_seed.values())


def test_a_gap_in_the_outcomes_holds_the_checks_back():
    spec = spec_of()
    some = outcomes(10)
    del some[3]
    assert {job.number for job in checks(spec, some, dials)} == {0, 1, 2}


@pytest.mark.parametrize("preset", ["cpu-2m", "cpu-10m", "cpu-1h", "cpu-6h"])
def test_the_price_is_what_will_be_asked_for(preset):
    spec = spec_of(preset)
    price = price_of(spec)
    assert price.checks == len(checks(spec, outcomes(price.uniform), dials))
    assert price.uniform + price.searched == spec.trials
    assert str(price.checks) in price.words()


def test_only_the_sampler_random_draws_all_evenly():
    assert price_of(spec_of("cpu-10m", sampler="random")).searched == 0
    assert price_of(spec_of("cpu-10m")).searched == 12
    assert price_of(spec_of("cpu-10m", sampler="tpe")).promoted == 12


class FakeStore:
    """Trials whose two seeds agree or do not; the record itself is tested elsewhere."""

    def __init__(self, agree):
        self.kept, self.agree = {}, agree

    def trials(self):
        from tests.report.test_page import trial

        return [trial(n, score=0.01 * n) for n in range(8)]

    def notes(self):
        order = range(8) if self.agree else (5, 1, 7, 3, 0, 6, 2, 4)
        return {
            f"retest-{n}": {"state": "complete", "result": {"score": 0.01 * rank}} for n, rank in enumerate(order)
        } | self.kept

    def note(self, key, value):
        self.kept[key] = value


def test_a_proxy_that_is_shown_not_to_rank_is_searched_only_by_force():
    spec = spec_of("cpu-10m", retests=8)
    said = []
    good, bad = FakeStore(agree=True), FakeStore(agree=False)
    assert may_search(spec, good, said.append, force=False)
    assert not may_search(spec, bad, said.append, force=False)
    assert bad.kept["validation"]["verdict"] == "failed"
    assert "forced" not in bad.kept
    assert may_search(spec, bad, said.append, force=True)
    assert "forced" in bad.kept
    assert any("--force" in line for line in said)


def test_finalists_are_the_best_of_the_front_each_with_new_seeds():
    spec = spec_of("cpu-6h")

    class Record(FakeStore):
        def trials(self):
            from tests.report.test_page import trial

            return [trial(n, score=0.1 + 0.01 * n, step=1.0 + (n % 3)) for n in range(10)]

    jobs = finals(spec, Record(agree=True), lambda n: {"row": n})
    assert [job.number for job in jobs[:: spec.preset.final_seeds]] == [9, 8, 7, 6]  # 9 is the whole front
    assert {job.kind for job in jobs} == {FINAL}
    assert len({job.seed for job in jobs}) == spec.preset.final_seeds
    used = {job.seed for job in checks(spec, outcomes(40), dials)} | {spec.seed}
    assert not used & {job.seed for job in jobs}
