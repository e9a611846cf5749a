"""What a study does around its search: checks of the proxy before, the last word on the finalists after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halosearch.analysis.frontier import complete, frontier
from halosearch.analysis.proxy_validation import FAILED, certificate
from halosearch.record.store import COMPLETE, Store, Trial, table
from halosearch.run.jobs import FINAL, RATE, RETEST, Job
from halosearch.search.sampler import Outcome
from halosearch.spec.study import StudySpec

SEED_STEP = 1_000_003
"""Seeds of repeats lie this far apart; those of the finals begin beyond all others."""
FINAL_SEEDS_FROM = 100
ANCHORS = 3
RATES = {1: 0.5, 2: 2.0}
"""Factors on the learning rate that are audited, by repeat number."""
Dials = Callable[[int], dict[str, Any]]
"""The dials of a trial, by its number."""


def checks(spec: StudySpec, outcomes: dict[int, Outcome], dials: Dials) -> list[Job]:
    """Retests of the first candidates, more seeds of three anchors, other rates of the corners, as far as they are known yet.

    Anchors are the cheapest, the middle and the dearest of the candidates trained twice; corners the deepest candidate and those
    with the narrowest and the widest bottleneck, where a rule for learning rates is most likely to fail.
    """
    uniform = min(uniform_trials(spec), spec.trials)
    scored: list[int] = []
    for number in range(uniform):
        if number not in outcomes:
            break
        if outcomes[number].scores is not None:
            scored.append(number)
    again = scored[: spec.retests]
    jobs = [Job(RETEST, n, dials(n), spec.seed + SEED_STEP) for n in again]
    if len(outcomes) < uniform or not scored:
        return jobs
    by_cost = sorted(again, key=lambda n: (outcomes[n].cost, n))
    anchors = sorted({by_cost[0], by_cost[len(by_cost) // 2], by_cost[-1]}) if len(by_cost) >= ANCHORS else []
    jobs += [
        Job(RETEST, n, dials(n), spec.seed + SEED_STEP * repeat, repeat=repeat)
        for n in anchors
        for repeat in range(2, spec.tier.anchor_seeds)
    ]
    return jobs + [
        Job(RATE, n, dials(n), spec.seed, repeat=repeat, rate=factor)
        for n in corners(scored, dials)[: spec.tier.rates]
        for repeat, factor in RATES.items()
    ]


def corners(trials: list[int], dials: Dials) -> list[int]:
    """The deepest trial, and those with the widest and the narrowest bottleneck; each once."""
    chosen = [
        max(trials, key=lambda n: (dials(n)["stage3_depth"], -n)),
        max(trials, key=lambda n: (dials(n)["expansion_ratio"], -n)),
        min(trials, key=lambda n: (dials(n)["expansion_ratio"], n)),
    ]
    return list(dict.fromkeys(chosen))


def uniform_trials(spec: StudySpec) -> int:
    """How many trials are drawn evenly before the search; all with the sampler "random"."""
    return spec.trials if spec.sampler == "random" else spec.tier.uniform


def certificate_of(spec: StudySpec, trials: list[Trial], notes: dict[str, Any]) -> dict[str, Any]:
    """What the record says of the proxy."""
    even = [t for t in trials if t.number < uniform_trials(spec) and t.state == COMPLETE]
    scores = {t.number: [float(s["score"]) for s in t.result["scores"]] for t in even}
    features: dict[str, dict[int, float]] = {
        name: {t.number: float(t.costs[name]) for t in even} for name in ("params", "macs", "activations")
    }
    features["depth"] = {t.number: float(t.dials["stage3_depth"]) for t in even}
    for t in even:
        for name, value in t.result.get("zero_cost", {}).items():
            features.setdefault(name, {})[t.number] = float(value)
    rates: dict[int, dict[float, float]] = {}
    for t in even:
        tried = {factor: _score(notes, Job(RATE, t.number, {}, 0, repeat=r)) for r, factor in RATES.items()}
        found = {factor: score for factor, score in tried.items() if score is not None}
        if found:
            rates[t.number] = found | {1.0: scores[t.number][-1]}
    return certificate(scores, {n: repeats_of(n, notes) for n in scores}, features, rates)


def repeats_of(number: int, notes: dict[str, Any]) -> list[float]:
    """Final scores of a trial's retests, by repeat; none where the first is missing."""
    found: list[float] = []
    for repeat in range(1, FINAL_SEEDS_FROM):
        score = _score(notes, Job(RETEST, number, {}, 0, repeat=repeat))
        if score is None:
            return found
        found.append(score)
    return found


def _score(notes: dict[str, Any], job: Job) -> float | None:
    note = notes.get(job.key, {})
    return float(note["result"]["score"]) if note.get("state") == COMPLETE else None


def finals(spec: StudySpec, store: Store, dials: Dials) -> list[Job]:
    """The finalists, each with its seeds: the best scores of the front, then the best of the rest where the front is short."""
    return [
        Job(FINAL, n, dials(n), spec.seed + SEED_STEP * (FINAL_SEEDS_FROM + repeat), repeat=repeat)
        for n in finalists(spec, store.trials())
        for repeat in range(1, spec.tier.final_seeds + 1)
    ]


def finalists(spec: StudySpec, trials: list[Trial]) -> list[int]:
    """Numbers of the trials that get the last word."""
    rows = table(trials)
    done, front = complete(rows), frontier(rows)
    if done.empty:
        return []
    by_score = done.sort_values(["score", "trial"], ascending=[False, True])["trial"]
    on_front = set(front["trial"])
    ordered = [n for n in by_score if n in on_front] + [n for n in by_score if n not in on_front]
    return [int(n) for n in ordered[: spec.tier.finalists]]


def may_search(spec: StudySpec, store: Store, message: Callable[[str], None], *, force: bool) -> bool:
    """Judge the proxy by the evenly drawn candidates, and write the judgement down."""
    found = certificate_of(spec, store.trials(), store.notes())
    store.note("certificate", found)
    message(f"the proxy here: {found['verdict']}; {found['reason']}")
    if found["verdict"] != FAILED or not force:
        return bool(found["verdict"] != FAILED)
    store.note("forced", {"reason": found["reason"]})
    message("searching nevertheless (--force)")
    return True
