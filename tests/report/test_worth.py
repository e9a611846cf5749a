import json
from pathlib import Path

import pytest

from halosearch.report.worth import SWEEPS, images_words, worth_sentences
from halosearch.spec.presets import PRESETS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
UNKNOWN = "Which dials these trainings can see, one moved at a time, was not measured for this preset and data."

ICC = {"n": 40, "icc": 0.9, "low": 0.8, "high": 0.95}


def summary(**validation):
    preset = PRESETS["cpu-1h"].model_dump(mode="json") | {"rungs": (768, 1536)}
    return {"validation": validation, "spec": {"preset": preset, "data": "scenes-easy-2", "family": "halonet"}}


def test_what_is_not_known_is_not_said():
    assert worth_sentences(summary()) == [UNKNOWN]
    assert worth_sentences(summary(reliability=None, beyond=None, lengths=[None])) == [UNKNOWN]


@pytest.mark.parametrize("name", SWEEPS)
def test_the_dials_that_are_named_are_those_of_the_committed_record(name):
    record = json.loads((BENCHMARKS / "results" / f"dials-{name}-cpu.json").read_text())
    sweep = SWEEPS[name]
    assert (sweep.seen, sweep.unseen) == (tuple(record["seen"]), tuple(record["unseen"]))
    assert (sweep.data, sweep.seeds) == (record["preset"]["scenes"], record["seeds"])
    assert record["preset"] == PRESETS[name].model_dump(mode="json")
    assert (BENCHMARKS / f"dials-{name}-cpu.md").exists()


@pytest.mark.parametrize("name", SWEEPS)
def test_dials_are_named_only_for_the_very_training_that_was_swept(name):
    preset = PRESETS[name].model_dump(mode="json")
    spec = {"preset": preset, "data": preset["scenes"], "family": "halonet"}
    said = worth_sentences({"validation": {}, "spec": spec})[-1]
    assert f"benchmarks/dials-{name}-cpu.md" in said
    assert all(dial in said for dial in (*SWEEPS[name].seen, *SWEEPS[name].unseen))
    for change in ({"data": "photos"}, {"preset": preset | {"batch": 99}}, {"preset": preset | {"rungs": [64]}}):
        assert "was not measured" in worth_sentences({"validation": {}, "spec": spec | change})[-1]


def test_images_are_those_that_a_searched_twin_sees():
    assert (
        images_words({"rungs": [512, 1024], "eta": 0}) == "1,024 images (those drawn evenly are scored after 512, too)"
    )
    assert images_words({"rungs": [512, 1024], "eta": 3}) == "512 then 1,024 images"
    assert images_words({"rungs": [1024], "eta": 0}) == "1,024 images"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (ICC, "the proxy says more than that"),
        (ICC | {"low": -0.1}, "that the proxy says more is not shown"),
        (None, "not decided by 40 candidates"),
    ],
)
def test_the_three_questions_are_answered_with_interval_and_n(rest, said):
    tau = {"tau": 0.5, "low": 0.3, "high": 0.7, "n": 40}
    reliable, beyond, length, _ = worth_sentences(summary(reliability=ICC, beyond=tau | {"rest": rest}, lengths=[tau]))
    assert "0.90 [0.80, 0.95]" in reliable
    assert "n = 40" in reliable
    assert "0.50 [0.30, 0.70] (n = 40)" in beyond
    assert said in beyond
    assert "768 images 0.50 [0.30, 0.70]" in length
