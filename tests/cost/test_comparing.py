"""Verdicts on pairs whose truth is known; the A/A rule by simulation and, slowly, on this machine."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from halosearch.cost.comparing import best_batch, compare
from halosearch.cost.subjects import Subject, is_timm, subject_of
from halosearch.cost.timing import TimingPlan, measure
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.notation import parse_candidate

TINY = "s=32,b=4,h=1,rb=0.5,l3=1,w=16,heads=1-1-1-1"


@pytest.fixture(scope="module")
def timed():
    return measure(
        {"a": parse_candidate(TINY), "b": parse_candidate(TINY)}, TimingPlan(2, 1, anchor_size=32), torch.device("cpu")
    )


def with_samples(timed, a, b):
    kept = tuple(range(len(a)))
    return [replace(timed[0], samples_s=tuple(a), kept=kept), replace(timed[1], samples_s=tuple(b), kept=kept)]


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [(2.0, 0.05, "slower"), (0.5, 0.05, "faster"), (1.0, 0.001, "no difference"), (1.0, 0.3, "unresolved")],
)
def test_verdicts(timed, factor, noise, verdict):
    rng = np.random.default_rng(2)
    a, b = 1 + noise * rng.random(9), factor * (1 + noise * rng.random(9))
    assert compare(with_samples(timed, a, b))[0].verdict == verdict


def test_a_few_rounds_give_no_verdict(timed):
    assert compare(with_samples(timed, [1, 1, 1], [9, 9, 9]))[0].verdict == "too few rounds"


def test_equal_models_under_shared_drift_differ_in_at_most_one_of_twenty(timed):
    rng = np.random.default_rng(3)
    differ = 0
    for _ in range(400):
        drift = np.exp(np.cumsum(0.1 * rng.standard_normal(7)))
        a, b = (drift * np.exp(0.05 * rng.standard_normal(7)) for _ in range(2))
        differ += compare(with_samples(timed, a, b))[0].verdict in ("faster", "slower")
    assert differ <= 400 / 20


def test_the_best_batch_is_where_doubling_no_longer_pays():
    """Steps of 1 s up to 8 images and of 1 s for each further 8: images/s stop growing at 8."""
    images = []

    class Probe(torch.nn.Linear):
        def forward(self, x):
            images.append(x.shape[0])
            return super().forward(x.mean((2, 3)))

    ticks = itertools.count()
    now = [0.0]

    def clock():
        if next(ticks) % 2:
            now[0] += max(1.0, images[-1] / 8)
        return now[0]

    subject = Subject(32, lambda: Probe(3, 1000))
    assert best_batch(subject, torch.device("cpu"), clock, train=True, compiled=False, smallest=2) == 8


def test_names_of_timm_are_told_apart_and_its_absence_is_one_sentence(monkeypatch):
    from halosearch.cost import subjects
    from halosearch.families import foreign

    assert is_timm("timm:resnet50")
    assert not is_timm("efficientnet-b4")
    assert not is_timm("h0")
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="timm is not installed"):
        subjects.timm_subject("timm:resnet50")


@pytest.mark.slow
def test_throttled_rounds_stay_in_the_samples_and_leave_the_median(monkeypatch):
    from halosearch.cost import timing

    rounds = itertools.count()
    monkeypatch.setattr(
        timing, "read_conditions", lambda device: {"throttled": ["hardware slowdown"] if next(rounds) < 2 else []}
    )
    result = measure({"a": subject_of(parse_candidate(TINY))}, TimingPlan(2, 6, anchor_size=32), torch.device("cpu"))[0]
    assert result.kept == (2, 3, 4, 5)
    assert len(result.samples_s) == len(result.conditions) == 6
    assert result.seconds.median == pytest.approx(np.median(result.samples_s[2:]))
    assert result.user_seconds == result.seconds
    assert (result.whose, result.how) == ("user", "the host's clock")
    assert not result.throttled
