import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.report_trials import evidence
from halosearch.record.evaluation import COMPLETE, FAILED, HELD_OUT, NETWORK, RIVAL, RIVAL_HELD_OUT, Evaluation
from halosearch.report.figures import figures
from halosearch.report.figures.front import prepare_front
from halosearch.report.figures.trials import prepare_curves
from halosearch.report.page import write_report
from halosearch.report.printed import printed
from halosearch.report.rivals import published_size, rival_sentences
from halosearch.report.summary import summarise
from halosearch.report.trial_rows import csv_text, flat_table
from tests.report.browser import Opened as Tab
from tests.report.browser import chromium, needs_chromium

NAME = "efficientnet-b4:s=96"
DRAWS = 4000


def beside(ahead, *, state=COMPLETE, seeds=2, noise=True):
    """A study of sixty trials, its first as the finalist, and a rival whose held-out scores lie so much above the finalist's."""
    found = evidence(60, even=20)
    rows = list(found.rows)
    final = {"images": 2048, "images_seen": 1024, "parts": {"shape": 0.1}, "accuracy": {"shape": 0.3}}
    for repeat in (1, 2):
        result = {"score": 0.30 + 0.001 * repeat, "final": final}
        rows.append(Evaluation(0, HELD_OUT, {}, trial=0, repeat=repeat, state=COMPLETE, result=result, runs=1))
    costs = {"params": 19_341_616, "macs": 280_000_000, "activations": 3_000_000}
    step = {"step_time_s": 0.2, "step_time_low_s": 0.19, "step_time_high_s": 0.22, "step_time": {"memory_bytes": 10**8}}
    result = {"score": 0.30 + ahead, "final": final, "seconds": 9.0, **step} if state == COMPLETE else {}
    reason = "" if state == COMPLETE else "loss is nan"
    rows.append(
        Evaluation(0, RIVAL, {NETWORK: NAME}, costs, trial=0, state=state, result=result, reason=reason, runs=1)
    )
    for repeat in range(1, seeds + 1):
        result = {"score": 0.30 + ahead + 0.001 * repeat, "final": final}
        rows.append(
            Evaluation(
                0, RIVAL_HELD_OUT, {NETWORK: NAME}, costs, trial=0, repeat=repeat, state=COMPLETE, result=result, runs=1
            )
        )
    validation = found.validation if noise else found.validation | {"noise": None, "agreement": None}
    return summarise(replace(found, rows=rows, validation=validation))


def said_of(summary):
    [sentence] = [sentence for sentence in summary["answer"] if sentence.startswith("The rival")]
    return sentence


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        (0.2, "better than trial 0 by 0.200"),
        (-0.2, "worse than trial 0 by 0.200"),
        (0.004, "not told apart from trial 0 (+0.004"),
    ],
)
def test_a_rival_is_better_worse_or_not_told_apart(ahead, verdict):
    summary = beside(ahead)
    sentence = said_of(summary)
    assert verdict in sentence
    trial = summary["trials"][0]
    assert f"{19_341_616 / trial['params']:.2f} of its parameters" in sentence
    assert f"{0.2 / trial['step_time_s']:.2f} of its training step" in sentence
    assert "published for 380 pixels, here at the study's 96" in sentence
    assert summary["answer"].index(sentence) == 2  # after what is recommended and what was best


def test_what_is_not_known_of_a_rival_is_said():
    assert "whether by more than noise is not known" in said_of(beside(0.1, noise=False))
    assert "gave no score to compare: loss is nan" in said_of(beside(0.1, state=FAILED, seeds=0))
    assert "not there yet" in said_of(beside(0.1, seeds=0))
    assert summarise(evidence(20))["rivals"] == []


def test_intervals_of_a_difference_hold_as_often_as_they_say():
    """With as much noise as the study knows of, a rival that is as good as the finalist is rarely said to be better or worse."""
    rng = np.random.default_rng(0)
    summary = beside(0.0)
    sd = summary["validation"]["noise"]["sd"]
    told_apart = 0
    for finalist, rival in rng.normal(0.3, sd, (DRAWS, 2, 2)).mean(2):
        half = 1.96 * sd / 2**0.5
        summary["finals"][0] |= {"score": finalist, "low": finalist - half, "high": finalist + half}
        summary["rivals"][0] |= {"held_out_score": rival, "held_out_low": rival - half, "held_out_high": rival + half}
        told_apart += "not told apart" not in rival_sentences(summary)[0]
    assert told_apart / DRAWS == pytest.approx(0.05, abs=0.012)


def test_a_rival_is_a_row_of_the_table_and_a_point_of_the_front_but_no_candidate(tmp_path):
    summary = beside(0.5)
    table = flat_table(summary, rivals=True)
    assert list(table.columns) == list(flat_table(summary).columns)
    [row] = table[table["state"] == "rival"].to_dict("records")
    assert (row["trial"], row["candidate"], row["params"]) == (-1, NAME, 19_341_616)
    assert row["held_out_score"] == pytest.approx(0.8015)
    again = pd.read_csv(io.StringIO(csv_text(table)))
    assert len(again) == 61
    assert -1 not in summary["front"]
    for cost in ("step_time_s", "macs", "params"):
        front = prepare_front(summary, flat_table(summary), cost)
        assert [r["candidate"] for r in front["rivals"]] == [NAME]
        assert -1 not in set(front["front"]["trial"])
    drawn = figures(summary, flat_table(summary), prepare_curves(summary))["front"]
    [trace] = [trace for trace in drawn.data if trace.name.startswith("rival")]
    assert trace.y[0] == pytest.approx(0.8015)  # on held-out pictures, as the finalists stand there
    assert trace.error_y.array[0] == pytest.approx(1.96 * summary["validation"]["noise"]["sd"] / 2**0.5)
    assert trace.text[0] == "EfficientNet-B4"
    assert printed(drawn, "svg") != printed(
        figures(summarise(evidence(60, even=20)), flat_table(summary), [])["front"], "svg"
    )
    assert NAME in json.dumps(summary["rivals"])


@pytest.mark.slow
@needs_chromium
@pytest.mark.xdist_group("browser")
def test_the_page_shows_a_rival_on_every_axis_and_counts_it_as_no_trial(tmp_path):
    path = write_report(tmp_path, beside(0.5))
    points = """(() => { const traces = document.querySelector('#front .js-plotly-plot').data;
        const found = traces.find(t => t.name.startsWith('rival')); return [found.x, found.y]; })()"""
    with chromium() as browser, Tab(browser, path, viewport={"width": 1280, "height": 900}) as tab:
        for axis, value in (
            ("step_time_s", 0.2),
            ("macs", 280_000_000),
            ("params", 19_341_616),
            ("memory_bytes", 10**8),
        ):
            tab.go_to(f"#x={axis}")
            assert tab.page.evaluate(points) == [[value], [pytest.approx(0.8015)]]
            assert -1 not in tab.front()
        assert "60 of 60 trials" in tab.page.locator("#status").inner_text()
        tab.unfold()
        assert NAME in tab.page.locator("#trials").inner_text()
        assert tab.complaints == []


def test_the_size_that_a_member_was_published_for():
    assert published_size("efficientnet-b4:s=96") == 380
    assert published_size("resnet-50:s=64,se=yes") == 224
    assert published_size("efficientnet:w=1.3,d=1,s=96") is None
