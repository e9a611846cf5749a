"""The page in a real browser, offline, with real mouse and keys; every filter against a recomputation in pandas."""

import csv
import io
import json
import random
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from benchmarks.report_trials import around, evidence, record
from halosearch.families.halonet.notation import parse_candidate
from halosearch.report.columns import BY_NAME
from halosearch.report.figures.front import BAND, prepare_front
from halosearch.report.numbers import short_number
from halosearch.report.page import write_report
from halosearch.report.summary import summarise
from halosearch.report.trial_rows import flat_table
from tests.report.browser import Opened as Tab
from tests.report.browser import chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.slow, pytest.mark.xdist_group("browser")]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"`${alert(3)}"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    summary = summarise(evidence(300))
    return write_report(folder, summary), summary


@pytest.fixture(scope="module")
def kept_open(browser, study):
    allowed = ["clipboard-read", "clipboard-write"]
    with Tab(browser, study[0], viewport={"width": 1280, "height": 900}, permissions=allowed) as opened:
        opened.unfold()
        yield opened


@pytest.fixture
def tab(kept_open):
    """One page for all tests that only look and filter: opening one takes seconds."""
    kept_open.page.fill("#search", "")
    kept_open.go_to("#x=step_time_s")
    kept_open.page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    kept_open.settled()
    assert len(kept_open.selected()) == 300
    yield kept_open
    assert [url for url in kept_open.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert kept_open.complaints == []
    assert kept_open.dialogs == []


def text_of(download):
    return Path(download.path()).read_bytes().decode()


def table_of(path):
    return pd.read_csv(path.parent / "trials.csv")


def front_of(rows, cost):
    """Trials no other beats, the slow way."""
    rows = rows[(rows["state"] == "complete") & rows[cost].notna() & rows["score"].notna()]
    found = set()
    for _, a in rows.iterrows():
        better = (rows["score"] >= a["score"]) & (rows[cost] <= a[cost])
        strict = (rows["score"] > a["score"]) | (rows[cost] < a[cost])
        if not (better & strict).any():
            found.add(int(a["trial"]))
    return found


def test_it_opens_offline_asks_for_nothing_and_needs_no_webgl(tab, study):
    assert set(tab.requests) <= {tab.url} | {url for url in tab.requests if url.startswith("blob:")}
    shown = tab.page.locator("main").inner_text()
    assert study[1]["headline"]["sentence"] in tab.page.locator("#sentence").inner_text()
    for sentence in study[1]["answer"]:
        assert " ".join(sentence.split()) in " ".join(shown.split())
    assert tab.page.locator("canvas").count() == 8  # two for each linked chart
    assert tab.page.evaluate(
        "[...document.querySelectorAll('canvas')].every(c => c.getContext('2d') !== null)"  # null if another kind was taken
    )
    assert tab.page.locator(".gl-container canvas").count() == 0
    assert tab.page.locator(".modebar-btn[data-title*='hare'], .modebar-btn[data-title*='loud']").count() == 0
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_front_of_the_page_is_that_of_its_downloaded_table(tab, study):
    saved = tab.download("#csv-all")
    text = text_of(saved)
    assert text == (study[0].parent / "trials.csv").read_bytes().decode()
    rows = pd.read_csv(io.StringIO(text))
    assert set(tab.front()) == front_of(rows, "step_time_s") == set(study[1]["front"])
    for cost in ("params", "macs", "predicted_step_time_s", "memory_bytes", "seconds", "activations"):
        tab.page.select_option("#axis", cost)
        tab.settled()
        assert set(tab.front()) == front_of(rows, cost), cost
        drawn = tab.page.evaluate(
            "(() => { const t = document.querySelector('#front .js-plotly-plot').data.find(d => d.name === 'front'); return [t.x, t.y]; })()"
        )
        by_trial = rows.set_index("trial")
        assert sorted(drawn[0]) == sorted(by_trial.loc[tab.front(), cost])
        assert sorted(drawn[1]) == sorted(by_trial.loc[tab.front(), "score"])


def test_a_candidate_that_was_not_timed_stands_where_its_step_is_predicted(browser, tmp_path):
    summary = summarise(evidence(60, untimed=20))
    path = write_report(tmp_path, summary)
    untimed = {t["trial"] for t in summary["trials"] if t["state"] == "complete" and t["step_time_s"] is None}
    assert len(untimed) == 20
    front = prepare_front(summary, flat_table(summary))
    drawn = {name: set(front["groups"][name]["trial"]) for name in ("predicted", "predicted-searched")}
    assert drawn["predicted"] | drawn["predicted-searched"] == untimed
    assert all(trial < 40 for trial in drawn["predicted"])  # drawn at random, before the search
    assert all(trial >= 40 for trial in drawn["predicted-searched"])
    with Tab(browser, path, viewport={"width": 1280, "height": 900}) as tab:
        assert set(tab.front()) == set(summary["front"]) == set(front["front"]["trial"])
        chart = tab.page.locator("#front")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        rows = table_of(path).set_index("trial")
        for trial in sorted(untimed)[:3]:
            row = rows.loc[trial]
            x, y = tab.page.evaluate(
                """([x, y]) => { const full = document.querySelector('#front .js-plotly-plot')._fullLayout;
                return [full.xaxis._offset + full.xaxis.l2p(Math.log10(x)), full.yaxis._offset + full.yaxis.l2p(y)]; }""",
                [float(row["predicted_step_time_s"]), float(row["score"])],
            )
            tab.page.mouse.move(box["x"] + x, box["y"] + y)
            tab.settled()
            said = tab.page.locator("#tip").inner_text()
            assert said.startswith(f"trial {trial}, complete")
            assert f"predicted step time s: {short_number(float(row['predicted_step_time_s']))}" in said
        tab.page.select_option("#axis", "macs")
        tab.settled()
        hidden = "document.querySelector('#front .js-plotly-plot').data.find(t => t.name.includes('predicted')).visible"
        assert tab.page.evaluate(hidden) is False
        assert tab.complaints == []


def test_filters_are_joined_and_equal_a_recomputation(tab, study):
    rows = table_of(study[0])
    rng = random.Random(0)
    for _ in range(4):
        tab.go_to("#x=step_time_s")
        keep = pd.Series(True, index=rows.index)
        for column in rng.sample(
            ["score", "params", "macs", "step_time_s", "seconds", "image_size", "stage3_depth"], 3
        ):
            values = sorted(rows[column].dropna().unique())
            low, high = sorted(rng.sample(range(len(values)), 2))
            for which, place in (("lowest", low), ("highest", high)):
                slider = tab.page.locator(f"input[type=range][aria-label^='{which}']").and_(
                    tab.page.locator(f"[aria-label*='{title_of(column)}']")
                )
                slider.evaluate(
                    "(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})); }", place
                )
                tab.settled()
            keep &= rows[column].between(values[low], values[high])
        tab.page.fill("#search", "conv=1")
        tab.settled()
        keep &= rows["candidate"].str.contains("conv=1", regex=False)
        assert set(tab.selected()) == set(rows[keep]["trial"])
        assert set(tab.front()) == front_of(rows[keep], "step_time_s")
        tab.page.fill("#search", "")


def title_of(column):
    return BY_NAME[column].title


def test_states_search_and_chips(tab, study):
    rows = table_of(study[0])
    tab.page.get_by_label("pruned (", exact=False).uncheck()
    tab.settled()
    assert set(tab.selected()) == set(rows[rows["state"] != "pruned"]["trial"])
    tab.page.locator("#search").press_sequentially("memory device")
    tab.settled()
    wanted = rows[(rows["state"] != "pruned") & rows["reason"].str.contains("memory", na=False)]
    assert set(tab.selected()) == set(wanted["trial"])
    assert f"{len(wanted)} of 300 trials" in tab.page.locator("#status").inner_text()
    assert tab.page.locator(".chip").count() == 3  # state, search, clear all
    saved = tab.download("#csv-selection")
    read = list(csv.DictReader(io.StringIO(text_of(saved), newline="")))
    assert {int(row["trial"]) for row in read} == set(wanted["trial"])
    tab.page.get_by_text("clear all").click()
    tab.settled()
    assert len(tab.selected()) == 300
    assert tab.page.locator(".chip").count() == 0


def test_a_box_drawn_in_the_front_filters_every_view(tab, study):
    rows = table_of(study[0])
    tab.page.locator("#front").scroll_into_view_if_needed()
    area = tab.page.locator("#front .nsewdrag").first.bounding_box()
    tab.page.mouse.move(area["x"] + 0.3 * area["width"], area["y"] + 0.2 * area["height"])
    tab.page.mouse.down()
    tab.page.mouse.move(area["x"] + 0.5 * area["width"], area["y"] + 0.5 * area["height"], steps=5)
    tab.page.mouse.move(area["x"] + 0.7 * area["width"], area["y"] + 0.8 * area["height"], steps=5)
    tab.page.mouse.up()
    tab.page.wait_for_timeout(500)
    fragment = unquote(tab.fragment())
    bounds = dict(part.split("=") for part in fragment.lstrip("#").split("&"))
    (x0, x1), (y0, y1) = (map(float, bounds[f"r.{name}"].split("..")) for name in ("step_time_s", "score"))
    wanted = rows[rows["step_time_s"].between(x0, x1) & rows["score"].between(y0, y1)]
    assert 0 < len(wanted) < 300
    assert set(tab.selected()) == set(wanted["trial"])
    assert f"of {len(wanted)}" in tab.page.locator("#rows").inner_text()
    assert tab.page.locator("#front .select-outline").count() == 0


def test_a_drag_along_a_parallel_axis_filters_and_a_click_lets_go(tab, study):
    rows = table_of(study[0])
    tab.page.locator("#parallel").scroll_into_view_if_needed()
    where = tab.page.evaluate(
        """(() => { const plot = document.querySelector('#parallel .js-plotly-plot');
        const box = plot.getBoundingClientRect(), f = plot._fullLayout;
        const last = f.xaxis.tickvals.length - 1;
        const x = box.left + f.xaxis._offset + f.xaxis.l2p(last), top = box.top + f.yaxis._offset;
        return [x, top + f.yaxis.l2p(0.9), top + f.yaxis.l2p(0.5)]; })()"""
    )
    tab.page.mouse.move(where[0], where[1])
    tab.page.mouse.down()
    tab.page.mouse.move(where[0], where[2], steps=4)
    tab.page.mouse.up()
    tab.settled()
    bounds = unquote(tab.fragment()).split("r.score=")[1]
    low, high = map(float, bounds.split(".."))
    scores = rows["score"]
    assert low == pytest.approx(scores.min() + 0.5 * (scores.max() - scores.min()), abs=0.02)
    assert set(tab.selected()) == set(rows[scores.between(low, high)]["trial"])
    tab.page.mouse.click(where[0], where[1])
    tab.settled()
    assert len(tab.selected()) == 300


def test_the_address_restores_the_view(browser, tab, study):
    tab.page.select_option("#axis", "macs")
    tab.page.locator("input[aria-label^='lowest score']").focus()
    for _ in range(40):
        tab.page.keyboard.press("ArrowRight")
    tab.page.fill("#search", "rb=2")
    tab.page.locator("#trials").get_by_role("button", name="parameters", exact=True).click()
    tab.page.locator("#trials tbody button").first.click()
    tab.settled()
    seen = [
        tab.selected(),
        tab.front(),
        tab.page.locator("#trials tbody").inner_text(),
        tab.page.locator("#chips").inner_text(),
    ]
    fragment = tab.fragment()
    assert fragment.startswith("#x=macs")
    with Tab(browser, study[0], fragment=fragment, viewport={"width": 1280, "height": 900}) as again:
        again.unfold()
        got = [
            again.selected(),
            again.front(),
            again.page.locator("#trials tbody").inner_text(),
            again.page.locator("#chips").inner_text(),
        ]
        assert got == seen
        assert again.page.locator("#axis").input_value() == "macs"
        assert again.page.locator("#trials tr.pinned").count() == 1
        title = "document.querySelector('#front .js-plotly-plot').layout.xaxis.title.text"
        assert again.page.evaluate(title) == "MACs (log scale)"
        again.go_to("#x=nonsense&r.nothing=1..2&state=%E0%A4&q")
        assert len(again.selected()) == 300
        assert again.complaints == []


def test_the_json_that_is_saved_is_the_table(tab, study):
    saved = json.loads(text_of(tab.download("#json-all")))
    assert [row["trial"] for row in saved] == list(range(300))
    for row, trial in zip(saved, study[1]["trials"], strict=True):
        for name, value in row.items():
            assert value == trial.get(name), name


def test_copied_commands_parse(tab):
    buttons = tab.page.locator("button[data-copy]:visible")
    assert buttons.count() >= 5
    for number in range(buttons.count()):
        buttons.nth(number).click()
        tab.settled()
        words = shlex.split(tab.page.evaluate("navigator.clipboard.readText()"))
        assert words[0] == "halosearch"
        if words[1] == "show":
            assert parse_candidate(words[2])


def test_keys_alone_reach_everything(tab):
    reached = set()
    tab.page.evaluate("document.activeElement.blur()")
    for _ in range(400):
        tab.page.keyboard.press("Tab")
        reached.add(
            tab.page.evaluate(
                "(e => e.id || e.getAttribute('aria-label') || e.textContent.trim())(document.activeElement)"
            )
        )
    wanted = {"theme", "axis", "search", "csv-all", "json-all", "csv-selection", "on", "study-file", "Filter by dials"}
    assert wanted <= reached
    assert {"lowest parameters", "highest parameters"} <= reached
    assert sum(name.startswith("pin trial") for name in reached) == 50
    tab.page.locator("#trials tbody button").first.focus()
    number = int(tab.page.locator("#trials tbody button").first.inner_text())
    tab.page.keyboard.press("Enter")
    tab.settled()
    assert tab.page.locator("#trials tr.pinned").count() == 1
    assert f"pin={number}" in tab.fragment()


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (360, "light"),
        *(
            pytest.param(*one, marks=[pytest.mark.slow, pytest.mark.long])
            for one in ((1280, "dark"), (360, "dark"), (1280, "light"))
        ),
    ],
)
def test_axe_finds_nothing_serious(browser, study, theme, width):
    from axe_playwright_python.sync_playwright import Axe

    with Tab(browser, study[0], viewport={"width": width, "height": 800}, color_scheme=theme) as tab:
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(tab.page).response["violations"]
        serious = [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
        assert serious == []


def test_without_javascript_answer_table_and_a_front_are_there(browser, study):
    with Tab(browser, study[0], wait=False, java_script_enabled=False) as tab:
        assert tab.requests == [tab.url]
        assert study[1]["headline"]["sentence"] in tab.page.locator("#sentence").inner_text()
        assert study[1]["answer"][0][:60] in tab.page.locator("#answer").inner_text()
        picture = tab.page.locator("#static-front img")
        assert picture.is_visible()
        assert picture.bounding_box()["height"] > 200
        assert tab.page.locator("#trials tbody tr").count() == 100
        assert tab.page.locator("#axis").is_hidden()
        table = tab.page.locator("#trials")
        assert table.is_hidden()
        tab.page.locator("#h-trials").click()  # sections unfold without a script
        assert table.is_visible()


def test_hostile_words_execute_nothing(browser, tmp_path):
    trials = list(evidence(25).trials)

    bad = record(
        25,
        np.random.default_rng(0),
        __import__("halosearch.families.halonet.space", fromlist=["HaloNetSpace"]).HaloNetSpace(),
        "failed",
    )
    trials.append(type(bad)(25, bad.dials, bad.costs, "failed", 1, HOSTILE, {}))
    found = around(trials, name=HOSTILE, description=HOSTILE, note=HOSTILE)
    found.data["unreadable"] = [[HOSTILE, HOSTILE]]
    summary = summarise(found)
    page = write_report(tmp_path, summary)
    with Tab(browser, page) as tab:
        tab.unfold()
        tab.page.fill("#search", "alert")
        tab.settled()
        assert tab.selected() == [25]
        tab.page.locator("#trials tbody button").first.click()
        tab.settled()
        assert tab.dialogs == []
        assert tab.complaints == []
        assert tab.page.title() == f"halosearch: {HOSTILE}".replace("\u2028", "\u2028")
        assert tab.page.locator("img[src=x]").count() == 0
        reason = tab.page.locator("#trials tbody td").last.inner_text()
        assert reason.startswith("</script><script>alert(1)")
        assert (
            list(csv.DictReader(io.StringIO((page.parent / "trials.csv").read_bytes().decode(), newline="")))[25][
                "reason"
            ]
            == HOSTILE
        )


@pytest.mark.parametrize(
    ("size", "share"),
    [
        pytest.param(0, (1, 0, 0, 0), id="no trial"),
        pytest.param(1, (1, 0, 0, 0), id="one", marks=pytest.mark.slow),
        pytest.param(6, (0, 0, 1, 0), id="all failed"),
        pytest.param(6, (0, 1, 0, 0), id="all pruned", marks=pytest.mark.slow),
        pytest.param(3, (0, 0, 0, 1), id="all infeasible", marks=pytest.mark.slow),
    ],
)
def test_small_and_sad_studies_open(browser, tmp_path, size, share):
    summary = summarise(evidence(size, share=share, even=0))
    page = write_report(tmp_path, summary)
    with Tab(browser, page, wait=size > 0) as tab:
        assert tab.complaints == []
        tab.unfold()
        assert summary["answer"][0] in tab.page.locator("#answer").inner_text()
        assert tab.page.locator("#sentence").inner_text() == summary["headline"]["sentence"]
        if size:
            assert len(tab.selected()) == size
            assert tab.front() == summary["front"]


@pytest.mark.slow
def test_ties_are_all_on_the_front(browser, tmp_path):
    found = evidence(3, share=(1, 0, 0, 0), even=3)
    same = [type(t)(n, t.dials, t.costs, t.state, 1, "", found.trials[0].result) for n, t in enumerate(found.trials)]
    page = write_report(tmp_path, summarise(around(same)))
    with Tab(browser, page) as tab:
        assert sorted(tab.front()) == [0, 1, 2]
        assert tab.complaints == []


def test_published_models_stand_on_the_axis_of_their_cost_alone(tab, study):
    names = """document.querySelector('#front .js-plotly-plot').data.filter(t => t.name.includes('cost only'))
        .map(t => [t.name, t.visible, t.text, t.x])"""
    tab.page.select_option("#axis", "params")
    tab.settled()
    marks = {name: dict(zip(text, x, strict=True)) for name, visible, text, x in tab.page.evaluate(names) if visible}
    assert marks["H0-H7 (cost only)"]["H4"] == 19_103_464  # counted, as `halosearch cost h4` prints
    assert marks["EfficientNet (cost only)"]["B4"] == pytest.approx(19_341_616)
    tab.page.select_option("#axis", "step_time_s")
    tab.settled()
    assert not [name for name, visible, _, x in tab.page.evaluate(names) if visible and x]


def test_the_band_belongs_to_the_measured_step_and_the_whole_selection(tab):
    plot = "document.querySelector('#front .js-plotly-plot')"
    shown = f"{plot}.data.filter(t => t.name.startsWith({json.dumps(BAND)})).map(t => t.visible !== false)"
    assert tab.page.evaluate(shown) == [True, True]
    tab.page.select_option("#axis", "macs")
    tab.settled()
    assert tab.page.evaluate(shown) == [False, False]
    tab.page.select_option("#axis", "step_time_s")
    tab.page.fill("#search", "conv=1")
    tab.settled()
    assert tab.page.evaluate(shown) == [False, False]


def test_importance_is_drawn(tab):
    bars = (
        "[...document.querySelectorAll('#importance .bars path')].filter(bar => bar.getBoundingClientRect().width > 0)"
    )
    assert tab.page.evaluate(f"{bars}.length") > 3


def test_printed_words_stay(browser, study):
    with Tab(browser, study[0], viewport={"width": 1280, "height": 900}) as tab:
        tab.page.emulate_media(media="print")
        assert tab.page.locator(".cards .term").first.is_visible()
        assert tab.page.locator("#theme").is_hidden()


@pytest.mark.parametrize(
    "fragment",
    [
        "r.score=3",
        "sort=constructor.up",
        "r.constructor=1..2&r.__proto__=1..2",
        "r.score=..",
        "q=%E0",
        "pin=1e999,x",
        "x=score",
    ],
)
def test_a_mangled_address_is_passed_over(tab, fragment):
    tab.go_to(f"#{fragment}")
    assert len(tab.selected()) == 300
    assert tab.page.locator("#trials tbody tr").count() == 50
    assert tab.page.locator("#broken").is_hidden()


def test_an_address_changes_the_search_box_even_while_it_is_typed_in(tab):
    tab.page.fill("#search", "complete")
    tab.go_to("#q=pruned")
    assert tab.page.locator("#search").input_value() == "pruned"


def test_pinning_keeps_page_and_focus(tab):
    tab.page.click("#on")
    assert tab.page.locator("#rows").inner_text().startswith("51–100")
    button = tab.page.locator("#trials tbody button").nth(3)
    number = button.inner_text()
    button.focus()
    tab.page.keyboard.press("Enter")
    tab.settled()
    assert tab.page.locator("#rows").inner_text().startswith("51–100")
    assert tab.page.evaluate("document.activeElement.textContent") == number
    tab.page.click("#back")


def test_a_slider_moved_there_and_back_is_no_filter(tab):
    slider = tab.page.locator("input[aria-label^='highest training step']")
    slider.focus()
    tab.page.keyboard.press("ArrowLeft")
    tab.settled()
    assert len(tab.selected()) < 300
    tab.page.keyboard.press("ArrowRight")
    tab.settled()
    assert len(tab.selected()) == 300
    assert tab.page.locator(".chip").count() == 0


def test_the_whole_of_a_parallel_axis_holds_its_extreme_trials(tab, study):
    """Ends of logarithmic axes are the values themselves, not what exponentials make of them."""
    ends = tab.page.evaluate(
        """(() => { const axis = JSON.parse(document.getElementById('data').textContent).figures.parallel.data[0].meta.axes
        .find(a => a.name === 'macs'); return [valueOn(axis)(0), valueOn(axis)(1)]; })()"""
    )
    rows = table_of(study[0])
    assert ends == [rows["macs"].min(), rows["macs"].max()]


def test_numbers_are_written_alike_by_page_and_python(tab):
    values = [
        0,
        1,
        9999.6,
        12_345,
        99_999,
        123_456_789,
        1.5e9,
        0.04061,
        1.2e-5,
        1.2e-7,
        -3.25,
        20_975_500,
        1e-10,
        0.1 + 0.2,
    ]
    assert tab.page.evaluate("values => values.map(shortNumber)", values) == [short_number(value) for value in values]


@pytest.mark.slow
def test_a_chart_that_fails_leaves_the_others_and_a_page_that_fails_leaves_its_plain_form(browser, study, tmp_path):
    whole = study[0].read_text()
    for old, new, broken in (
        (
            'if (id === "parallel") this.brushParallel',
            'if (id === "parallel") nothing.at.all; if (0) this.brushParallel',
            False,
        ),
        ("const axis = selection.axis;", "throw new Error('no');", True),
    ):
        assert old in whole
        page = tmp_path / "index.html"
        page.write_text(re.sub(r"<meta http-equiv=.Content-Security-Policy[^>]*>", "", whole).replace(old, new, 1))
        with Tab(browser, page, wait=False) as tab:
            if broken:
                tab.page.wait_for_selector("#broken", state="visible")
                assert tab.page.locator("#static-front img").is_visible()
                assert tab.page.locator("#trials tbody tr").count() == 100
            else:
                tab.page.wait_for_selector("html[data-ready=yes]")
                tab.unfold()
                assert "could not be drawn" in tab.page.locator("#parallel").inner_text()
                assert tab.page.locator("#slices svg").count() > 0
