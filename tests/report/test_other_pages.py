"""Pages of experiments, laws, rediscovery, comparisons and the site, in a real browser: the same form, the same safety."""

from dataclasses import replace
from pathlib import Path

import pytest

from halosearch.record.folders import Folders
from halosearch.report.comparison import compare, comparison_top, write_comparison
from halosearch.report.reading import open_study, rewrite_report, summary_of
from halosearch.report.rediscovery_page import rediscovery_summary
from halosearch.report.shell import page
from halosearch.report.tops import rediscovery_top, top_of
from tests.report.browser import Opened as Tab
from tests.report.browser import chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.slow, pytest.mark.xdist_group("browser")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def study(name, folder):
    opened = open_study(ROOT, f"studies/{name}", experiments=True)
    summary, path = rewrite_report(replace(opened, folders=Folders(opened.folders.study, folder)))
    return top_of(summary), path


def rediscovered(folder):
    summary = rediscovery_summary(ROOT)
    top = rediscovery_top(summary)
    (folder / "index.html").write_text(page("rediscovery.html.j2", "rediscovery", None, summary=summary, top=top))
    return top, folder / "index.html"


def compared(folder):
    found = compare(*(summary_of(open_study(ROOT, f"studies/{name}")) for name in ("example-20M", "efficientnet-20M")))
    return comparison_top(found), write_comparison(folder, found)


PAGES = {
    "experiment": lambda folder: study("paper-window", folder),
    "timed experiment": lambda folder: study("paper-hybrids", folder),
    "ladder": lambda folder: study("ladder", folder),
    "rediscovery": rediscovered,
    "comparison": compared,
}


@pytest.mark.parametrize("kind", PAGES)
def test_the_first_screen_is_the_summary_s_and_nothing_is_cut_asked_for_or_inaccessible(browser, tmp_path, kind):
    from axe_playwright_python.sync_playwright import Axe

    top, path = PAGES[kind](tmp_path)
    with Tab(browser, path, viewport={"width": 390, "height": 844}, color_scheme="dark") as tab:
        assert tab.page.locator("h1").inner_text() == top["title"]
        assert tab.page.locator("#sentence").inner_text() == top["sentence"]
        assert tab.page.locator(".cards b").all_inner_texts() == [card["value"] for card in top["cards"]]
        tab.unfold()
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        drawn = tab.page.locator(".chart .js-plotly-plot").count()
        assert drawn == tab.page.locator(".chart").count()
        assert bool(drawn) == (kind != "rediscovery")
        found = Axe().run(tab.page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
        assert [url for url in tab.requests if not url.startswith(("file:", "blob:", "data:"))] == []
        assert tab.complaints == []


def test_a_law_s_card_does_not_quote_what_its_interval_leaves_open(tmp_path):
    top, _ = study("ladder", tmp_path)
    assert "not held" in [card["value"] for card in top["cards"]]
    assert "do not hold E from both sides." in top["sentence"], "its slope is held"
    assert top["cards"][-1]["value"] == "the forecast did not hold"


def test_the_verdicts_of_an_experiment_are_counted_as_they_are_listed(tmp_path):
    opened = open_study(ROOT, "studies/paper-window", experiments=True)
    summary, _ = rewrite_report(replace(opened, folders=Folders(opened.folders.study, tmp_path)))
    cards = {card["label"].lower(): card for card in top_of(summary)["cards"]}
    for verdict in ("confirmed", "refuted", "undecided"):
        named = [each["text"] for each in summary["expectations"] if each["verdict"] == verdict]
        if named:
            assert cards[verdict]["value"] == str(len(named))
            assert cards[verdict]["note"] == "; ".join(named)


def test_an_experiment_that_was_changed_or_timed_only_says_so(tmp_path):
    opened = open_study(ROOT, "studies/paper-window", experiments=True)
    summary, _ = rewrite_report(replace(opened, folders=Folders(opened.folders.study, tmp_path)))
    assert "written before the run" in top_of(summary)["sentence"]
    changed = summary | {"changes": [{"after_results": 5, "before": {}}]}
    assert "changed after results were there" in top_of(changed)["sentence"]
    assert "written before" not in top_of(changed)["sentence"]
    timed = summary | {"trainings": {"done": 0, "planned": 0}}
    assert "trainings" not in top_of(timed)["subtitle"]


@pytest.mark.parametrize(
    ("verdict", "why", "said"),
    [
        ("passed", "improved under this proxy: best found minus member +0.1", "H0 is beaten by another network."),
        ("passed", "rediscovered: best found minus member +0.001", "H0 is found again."),
        ("failed", "search failed: best found minus member -0.1", "H0 is not reached."),
        ("undecided", "", "H0 was not decided upon."),
        ("not tested", "", "H0 was not compared yet."),
    ],
)
def test_what_became_of_a_member_is_said_as_it_was_judged(verdict, why, said):
    statements = [{"id": "R0", "verdict": "passed", "why": ""}, {"id": "R2", "verdict": verdict, "why": why}]
    top = rediscovery_top({"members": [{"member": "H0", "statements": statements}], "over_all": []})
    assert top["sentence"] == said
