import pandas as pd
import pytest

from halosearch.report.page import score_parts
from halosearch.report.worth import worth_sentences

ICC = {"n": 40, "icc": 0.9, "low": 0.8, "high": 0.95}


def summary(**validation):
    return {"validation": validation, "spec": {"preset": {"rungs": (768, 1536)}}}


def test_what_is_not_known_is_not_said():
    assert worth_sentences(summary()) == []
    assert worth_sentences(summary(reliability=None, beyond=None, lengths=[None])) == []


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
    reliable, beyond, length = worth_sentences(summary(reliability=ICC, beyond=tau | {"rest": rest}, lengths=[tau]))
    assert "0.90 [0.80, 0.95]" in reliable
    assert "n = 40" in reliable
    assert "0.50 [0.30, 0.70] (n = 40)" in beyond
    assert said in beyond
    assert "768 images 0.50 [0.30, 0.70]" in length


def test_parts_are_means_over_complete_trials_beside_the_best_ones():
    table = pd.DataFrame(
        {
            "state": ["complete", "complete", "failed"],
            "score": [0.2, 0.4, None],
            "part_shape": [0.1, 0.3, None],
            "part_object_mask": [0.5, 0.1, None],
        }
    )
    assert score_parts(table) == [
        {"name": "shape", "mean": pytest.approx(0.2), "best": 0.3},
        {"name": "object mask", "mean": pytest.approx(0.3), "best": 0.1},
    ]
    assert score_parts(table.drop(columns=["part_shape", "part_object_mask"])) == []
    assert score_parts(table[2:]) == []
