"""Two studies side by side."""

import json
from dataclasses import replace

import pytest

from benchmarks.report_trials import around, evidence
from halosearch.report.comparison import compare, render, write_comparison
from halosearch.report.summary import summarise
from tests.report.browser import Opened, chromium, needs_chromium


def shifted(trials, by):
    return [
        replace(t, result=t.result | {"score": t.result["score"] + by}) if "score" in t.result else t for t in trials
    ]


FOUND = evidence(60, name="one")


def summary(name="two", shift=0.0, description="random numbers, no study", **spec):
    return summarise(around(shifted(FOUND.trials, shift), name=name, description=description, **spec))


def test_the_same_study_twice_is_not_told_apart_and_its_inputs_are_the_same():
    found = compare(summary("one"), summary("two"))
    assert found["answer"][0].startswith("The two fronts cannot be told apart")
    assert found["inputs"] == []
    assert found["cost"] == "step_time_s"
    assert found["fronts"][0] == found["fronts"][1]
    assert found["shared"]["n"] == sum(t.state == "complete" for t in FOUND.trials)
    assert found["shared"]["mean"] == 0
    assert found["shared"]["kendall_tau"] == pytest.approx(1)
    assert [row["trial"] for row in found["fronts"][0]] == summary("one")["front"]


def test_a_difference_beyond_the_noise_is_said_with_the_better_one_named():
    found = compare(summary("low"), summary("high", shift=0.2))
    assert found["answer"][0].startswith("The front of high is better, beyond the noise")
    assert found["hypervolume"]["high"] < 0
    assert compare(summary("high", shift=0.2), summary("low"))["hypervolume"]["low"] > 0


def test_scores_of_other_data_or_another_proxy_are_not_subtracted():
    other = summary("two")
    other["data"] = other["data"] | {"task_hash": "f" * 12}
    found = compare(summary("one"), other)
    assert found["hypervolume"] is None
    assert "cannot be compared: they were scored on different data" in found["answer"][0]
    other = summary("two")
    other["spec"] = other["spec"] | {"preset": other["spec"]["preset"] | {"rungs": [1]}}
    found = compare(summary("one"), other)
    assert "their proxies differ (rungs)" in found["answer"][0]
    assert [entry["field"] for entry in found["inputs"]] == ["preset.rungs"]


def test_without_known_noise_nothing_is_claimed():
    bare = summarise(around(list(FOUND.trials), name="two", notes={"clock": {"device": {"device": "none"}}}))
    found = compare(summary("one"), bare)
    assert "the noise of a score is not known in two" in found["answer"][0]


def test_step_times_of_two_devices_are_not_compared():
    other = summary("two")
    other["provenance"] = other["provenance"] | {"device": {"device": "another"}}
    found = compare(summary("one"), other)
    assert found["cost"] == "macs"
    assert any("MACs stand for cost" in sentence for sentence in found["answer"])


def test_finals_decide_between_recommendations():
    sides = []
    for score in (0.5, 0.3):
        side = summary(f"s{score}")
        side["finals"] = [{"trial": 1, "score": score, "low": score - 0.02, "high": score + 0.02}]
        sides.append(side)
    found = compare(*sides)
    assert found["recommended"]["low"] > 0
    assert "differ beyond the noise" in found["answer"][1]


def test_the_same_comparison_gives_the_same_bytes(tmp_path):
    found = compare(summary("one"), summary("two", shift=0.01))
    assert render(found) == render(compare(summary("one"), summary("two", shift=0.01)))
    page = write_comparison(tmp_path, found)
    assert json.loads((tmp_path / "comparison.json").read_text()) == found
    assert page.read_text().startswith("<!doctype html>")


@needs_chromium
@pytest.mark.slow
def test_a_comparison_opens_offline_with_hostile_names(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>"
    page = write_comparison(tmp_path, compare(summary(bad), summary("two", shift=0.2)))
    with chromium() as browser, Opened(browser, page) as tab:
        assert tab.requests == [tab.url]
        assert tab.complaints == tab.dialogs == []
        assert tab.page.locator("#fronts svg").count() > 0
        assert tab.page.locator("img[src=x]").count() == 0
