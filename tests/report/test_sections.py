"""The first screen and the folded sections, as values: one number for one thing, nothing that says nothing."""

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.report_trials import around, evidence
from halosearch.families.known import FAMILIES, count, parse_candidate
from halosearch.report.headline import headline, told_apart
from halosearch.report.network_rows import network_rows
from halosearch.report.numbers import amount, duration
from halosearch.report.page import TITLES, render
from halosearch.report.rivals import network_name
from halosearch.report.sections import asked, choices, lines
from halosearch.report.sections import tested as statements
from halosearch.report.shell import dials_in, slug
from halosearch.report.summary import summarise
from halosearch.report.terms import TERMS
from tests.report.test_rivals import beside

SUMMARY = summarise(evidence(60, even=20))


def with_finals(gap, sd=0.01, seeds=2):
    """Two finalists so far apart, every interval by the noise `sd` of one score."""
    half = 1.96 * sd / seeds**0.5
    finals = [
        {"trial": number, "seeds": seeds, "images": 64, "scores": [score] * seeds, "score": score, "low": score - half,
         "high": score + half, "search_score": score}
        for number, score in ((3, 0.5), (5, 0.5 - gap))
    ]  # fmt: skip
    return SUMMARY | {"finals": finals}


def test_parts_are_means_over_complete_trials_beside_the_named_one_and_the_rival():
    table = pd.DataFrame(
        {"trial": [0, 1, 2], "state": ["complete", "complete", "failed"], "score": [0.2, 0.4, None],
         "part_shape": [0.1, 0.3, None], "part_object_mask": [0.5, 0.1, None]}
    )  # fmt: skip
    summary = {"finals": [], "decisions": [{"role": "best score", "trial": 1}], "rivals": []}
    assert asked(summary, table) == [
        {"name": "shape", "mean": pytest.approx(0.2), "best": 0.3, "rival": None},
        {"name": "object mask", "mean": pytest.approx(0.3), "best": 0.1, "rival": None},
    ]
    summary["rivals"] = [{"parts": {"object mask": 0.7}}]
    assert [part["rival"] for part in asked(summary, table)] == [None, 0.7]
    assert asked(summary, table.drop(columns=["part_shape", "part_object_mask"])) == []
    assert asked(summary, table[2:]) == []


def test_finalists_within_their_noise_tie_and_the_faster_is_named():
    said = headline(with_finals(0.01))
    assert said["sentence"].startswith("Trials 3 and 5 tie for the best score on held-out pictures")
    assert "within the noise" in said["choice"][0]
    apart = headline(with_finals(0.1))
    assert "beyond the noise" in apart["sentence"]
    assert apart["choice"] == ["Trial 5 scores 0.400: less, beyond the noise."]
    slow, quick = (next(t for t in SUMMARY["trials"] if t["trial"] == n) for n in (3, 5))
    for trial, step in ((slow, 1.0), (quick, 0.5)):
        trial |= {"step_time_s": step, "step_time_low_s": 0.9 * step, "step_time_high_s": 1.1 * step}
    assert "; 5 trains in 0.50 of the time of 3." in headline(with_finals(0.01))["sentence"]
    assert "its step takes 0.50 of the time" in headline(with_finals(0.01))["choice"][0]


def test_without_known_noise_nothing_is_said_to_tie():
    unknown = with_finals(0.01)
    unknown["finals"] = [final | {"low": None, "high": None} for final in unknown["finals"]]
    said = headline(unknown)
    assert "whether by more than the noise is not known" in said["sentence"]
    assert "tie" not in said["sentence"]
    assert "within the noise" not in " ".join(said["choice"])
    assert not any("cannot be told" in role for row in choices(unknown) for role in row["roles"])


def test_a_study_that_timed_nothing_begins_with_the_cost_that_it_knows():
    summary = summarise(evidence(40, even=20, untimed=40))
    trials = summary["trials"]
    for trial in trials:
        trial["predicted_step_time_s"] = None
    page = render(summary)
    done = [t for t in trials if t["state"] == "complete"]
    front = [
        a["trial"]
        for a in done
        if not any(
            b["score"] >= a["score"] and b["macs"] <= a["macs"] and (b["score"], b["macs"]) != (a["score"], a["macs"])
            for b in done
        )
    ]
    assert f'alt="Score against MACs: {len(front)} trials on the front"' in page


def test_what_it_cost_counts_a_rung_once():
    study = evidence(12, share=(1, 0, 0, 0), even=12)
    spent = summarise(study)["provenance"]["spent_seconds"]
    assert spent == pytest.approx(sum(t.result["seconds"] for t in study.trials), abs=0.1)


def test_means_of_equal_networks_are_told_apart_as_rarely_as_they_say():
    rng = np.random.default_rng(0)
    half = 1.96 * 0.02 / 2**0.5
    apart = [
        told_apart(*({"score": m, "low": m - half, "high": m + half} for m in pair))
        for pair in rng.normal(0.3, 0.02, (20_000, 2, 2)).mean(2)
    ]
    assert np.mean(apart) == pytest.approx(0.05, abs=0.006)


def test_cards_say_the_numbers_of_the_summary_and_no_other():
    summary = beside(0.1)
    cards = {card["label"]: card for card in summary["headline"]["cards"]}
    first = summary["finals"][0]
    card = cards[f"Score of trial {first['trial']}"]
    assert card["value"] == f"{first['score']:.3f}"
    assert f"[{first['low']:.3f}, {first['high']:.3f}]" in card["note"]
    assert f"EfficientNet-B4 {summary['rivals'][0]['held_out_score']:.3f}" in card["note"]
    trial = next(t for t in summary["trials"] if t["trial"] == first["trial"])
    ratio = summary["rivals"][0]["step_time_s"] / trial["step_time_s"]
    assert f"×{ratio:.2f}" in cards["Its training step"]["note"]
    assert f"{summary['agreement']['tau']:.2f}" in cards["Trust in the ranking"]["note"]
    assert cards["It cost"]["value"] == duration(summary["provenance"]["spent_seconds"])
    assert "scores less" in summary["headline"]["sentence"] or "scores more" in summary["headline"]["sentence"]


@pytest.mark.parametrize(
    ("value", "said"), [(20_000_000, "20 M"), (5_502_248, "5.5 M"), (11.86e9, "11.9 G"), (300, "300")]
)
def test_amounts_have_three_digits(value, said):
    assert amount(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(42.4, "42 s"), (561.1, "9 min 21 s"), (10_688, "2 h 58 min"), (59.7, "1 min 0 s")]
)
def test_times_are_for_people(seconds, said):
    assert duration(seconds) == said


def test_a_trial_that_several_things_speak_for_is_one_row():
    rows = choices(SUMMARY)
    assert len({row["trial"] for row in rows}) == len(rows)
    assert sum(len(row["roles"]) for row in rows) == len(SUMMARY["decisions"])


def test_statements_that_were_not_tested_take_no_room():
    assert [entry["id"] for entry in statements(SUMMARY)] == ["R0"]
    page = render(SUMMARY)
    assert "not tested" not in page
    assert 'id="rediscovery"' in page
    assert set(lines(SUMMARY, [], 0)) == set(TITLES)


def test_no_column_of_the_table_is_empty():
    head = re.search(r'<table id="trials">.*?</thead>', render(SUMMARY), re.DOTALL)[0]
    assert "held-out" not in head
    assert "step (s)" in head


def test_every_explained_word_has_its_explanation_once():
    page = render(SUMMARY)
    ids = re.findall(r'<div class="explained" id="(term-[^"]+)"', page)
    assert len(set(ids)) == len(ids) == len(TERMS) == len({slug(word) for word in TERMS})
    assert set(re.findall(r'popovertarget="([^"]+)"', page)) <= set(ids)


def test_dials_of_any_notation():
    assert dials_in("s=64,b=4,heads=1-1-8-8") == [("s", "64"), ("b", "4"), ("heads", "1-1-8-8")]
    assert dials_in("efficientnet-b4:s=96") == [("efficientnet-b4", ""), ("s", "96")]
    assert dials_in("resnet-50") == [("resnet-50", "")]
    assert network_name("efficientnet-b4:s=96") == "EfficientNet-B4"
    assert network_name("efficientnet:w=1,d=2,s=96") == "EfficientNet (w=1,d=2,s=96)"


@pytest.mark.parametrize(
    "text", ["h0", "h4", "s=64,b=4,h=1,rv=2.5,rb=3.75,l3=1,conv=2", "efficientnet-b4:s=96", "resnet-50"]
)
def test_rows_of_a_network_add_up_to_it(text):
    config = parse_candidate(text)
    rows = network_rows(config)
    assert sum(row.params for row in rows) == pytest.approx(1)
    assert sum(row.macs for row in rows) == pytest.approx(1)
    assert all(row.step_time is None for row in rows)
    assert (rows[0].name, rows[-1].name) == ("stem", "head")
    assert sum(row.name.startswith("stage ") for row in rows) == (7 if text.startswith("eff") else 4)
    head = rows[-1].params * count(config).params
    assert head == pytest.approx(1000 * (rows[-2].channels + 1), rel=1e-9)
    attends = [row for row in rows if row.window is not None]
    assert all(row.window <= row.side for row in attends)
    assert bool(attends) == (text[0] in "hs")


def test_time_of_a_stage_is_that_of_its_parts_as_often_as_they_occur():
    config = FAMILIES["halonet"].parse("h0")
    depths = config.stage_depths
    timed = [{"name": f"stages.{i}.{which}", "share": 1.0} for i in range(4) for which in ("0", "rest")]
    rows = {row.name: row for row in network_rows(config, timed)}
    for stage in range(4):
        assert rows[f"stage {stage + 1}"].step_time == pytest.approx(depths[stage] / sum(depths))


def test_pictures_of_built_in_scenes_are_shown_and_a_folder_s_are_not():
    shown = summarise(
        around(list(evidence(5).trials), data="scenes-easy-2", description="procedural scenes (synthetic)")
    )
    assert render(shown).count('alt="training picture:') == 8
    folder = summarise(around(list(evidence(5).trials), data="somebody", description="images of somebody"))
    assert "training picture:" not in render(folder)
