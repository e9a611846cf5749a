"""A running study's page over HTTP: it follows the record and keeps what its reader has chosen; nobody else may read it."""

import contextlib
import http.client
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from halosearch.report.serving import OFFLINE, live_form
from tests.report.browser import chromium, needs_chromium

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "studies" / "example-20M"


@contextlib.contextmanager
def served(folder, study="one"):
    """A server of its own process; yields its port."""
    command = [sys.executable, "-m", "halosearch", "report", study, "--serve", "--port", "0", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        try:
            yield int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline().strip())[1])
        finally:
            process.terminate()


def begun(folder, rows):
    """The example's study as it was after so many lines of its journal; returns the lines to come."""
    place = folder / "studies" / "one"
    shutil.copytree(EXAMPLE, place)
    lines = (place / "trials.journal").read_text().splitlines(keepends=True)
    (place / "trials.journal").write_text("".join(lines[:rows]))
    return place / "trials.journal", lines[rows:]


def asked(port, path, host):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def lines_until(trials):
    """How many lines of the example's journal it takes until so many trials have ended."""
    found = 0
    for number, line in enumerate((EXAMPLE / "trials.journal").read_text().splitlines()):
        found += '"prequential"' in line and '"end"' in line
        if found == trials:
            return number + 1
    raise AssertionError(found)


@pytest.mark.slow
def test_only_this_machine_under_its_own_name_is_answered_and_nothing_is_written(tmp_path):
    begun(tmp_path, 400)
    with served(tmp_path) as port:
        status, page = asked(port, "/", f"127.0.0.1:{port}")
        assert status == 200
        assert "connect-src 'self';" in page
        assert asked(port, "/version", f"localhost:{port}")[0] == 200
        assert asked(port, "/version", "localhost")[0] == 200
        assert asked(port, "/", f"somewhere.example:{port}")[0] == 403
        assert asked(port, "/../studies/one/study.yaml", f"127.0.0.1:{port}")[0] == 404
    assert not (tmp_path / "reports").exists()


def test_the_page_on_disk_asks_nobody():
    page = (ROOT / "reports" / "example-20M" / "index.html").read_text()
    assert OFFLINE in page
    assert "connect-src" not in page.partition("</head>")[0]
    live = live_form(page, "1-2")
    assert live.count("connect-src 'self'") == page.count("connect-src 'self'") + 1


@pytest.mark.slow
@needs_chromium
@pytest.mark.xdist_group("browser")
def test_a_page_that_follows_keeps_selection_pins_scroll_and_open_sections(tmp_path):
    journal, coming = begun(tmp_path, lines_until(20))
    with served(tmp_path) as port, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        complaints = []
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/", timeout=60_000)
        page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        before = len(page.evaluate("halosearch.selected()"))
        page.locator("#h-trials").click()
        page.wait_for_selector("#s-trials[data-drawn=yes]")
        page.fill("#search", "s=64")
        page.locator("#trials tbody button").nth(1).click()
        pinned = page.locator("#trials tr.pinned button").inner_text()
        kept = page.evaluate("halosearch.selected()")
        page.evaluate("window.unreloaded = true; scrollTo(0, 700)")
        version = page.evaluate("document.documentElement.dataset.live")
        with journal.open("a") as file:
            file.write("".join(coming))
        page.wait_for_selector(f"html:not([data-live='{version}'])", timeout=60_000)
        page.wait_for_selector("text=of 30 trials", timeout=60_000)
        page.wait_for_selector("#s-trials[data-drawn=yes]", timeout=60_000)
        assert page.evaluate("window.unreloaded") is True
        assert page.locator("#search").input_value() == "s=64"
        assert page.locator("#trials tr.pinned button").inner_text() == pinned
        assert page.locator("#s-trials").evaluate("one => one.open")
        now = page.evaluate("halosearch.selected()")
        assert before < 30
        assert set(kept) <= set(now)
        assert page.evaluate("scrollY") == pytest.approx(700, abs=2)
        assert "Trials 24 and 25" in page.locator("#sentence").inner_text()
        assert complaints == []
