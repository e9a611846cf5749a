"""The page in Firefox: it opens offline, draws, filters and pins as in Chromium."""

import pytest

from benchmarks.report_trials import evidence
from halosearch.report.page import write_report
from halosearch.report.summary import summarise
from tests.report.firefox import firefox, needs_firefox

pytestmark = [needs_firefox, pytest.mark.slow, pytest.mark.xdist_group("browser")]


def test_the_page_draws_filters_pins_and_unfolds_in_firefox(tmp_path):
    summary = summarise(evidence(300))
    page = write_report(tmp_path, summary)
    with firefox() as browser:
        browser.open(page.as_uri())
        browser.wait_for("return document.documentElement.dataset.ready === 'yes';")
        browser.complaints()
        assert len(browser.run("return window.halosearch.selected();")) == 300
        assert set(browser.run("return window.halosearch.front();")) == set(summary["front"])
        assert browser.run("return document.querySelector('#sentence').innerText;") == summary["headline"]["sentence"]
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth;")
        browser.run("document.querySelectorAll('section > details').forEach(one => { one.open = true; });")
        browser.wait_for("return !document.querySelector('section > details:not([data-drawn=yes])');")
        assert browser.run("return document.querySelectorAll('canvas').length;") == 8
        browser.run(
            "const box = document.getElementById('search'); box.value = 'conv=1'; box.dispatchEvent(new Event('input', {bubbles: true}));"
        )
        wanted = {t["trial"] for t in summary["trials"] if "conv=1" in t["candidate"]}
        browser.wait_for("return window.halosearch.selected().length === " + f"{len(wanted)};")
        assert set(browser.run("return window.halosearch.selected();")) == wanted
        browser.run("document.querySelector('#trials tbody button').click();")
        browser.wait_for("return document.querySelectorAll('#trials tr.pinned').length === 1;")
        browser.run("document.querySelector('button.term').click();")
        assert browser.run("return document.querySelectorAll('.explained:popover-open').length;") == 1
        assert browser.complaints() == []
