"""A real Chromium for tests, where there is one; `.ci/run` sees to it that there is."""

import contextlib
import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("HALOSEARCH_NEEDS_CHROMIUM"), reason="no Chromium is installed here"
)


@contextlib.contextmanager
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Opened:
    """A page in a context of its own, offline; everything that it asked for or complained of is kept."""

    def __init__(self, browser, path, *, fragment="", wait=True, **context):
        self.context = browser.new_context(offline=True, accept_downloads=True, **context)
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.requests, self.complaints, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.url = path.as_uri() + fragment
        self.page.goto(self.url)
        if wait:
            self.page.wait_for_selector("html[data-ready=yes]")

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def unfold(self):
        """Open every section; returns when its charts are drawn."""
        self.page.evaluate("document.querySelectorAll('section > details').forEach(d => { d.open = true; })")
        if self.page.locator("#data").count():
            self.page.wait_for_selector("section > details:not([data-drawn=yes])", state="detached")

    def selected(self):
        return self.page.evaluate("halosearch.selected()")

    def front(self):
        return self.page.evaluate("halosearch.front()")

    def settled(self):
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def fragment(self):
        """The address after the #, which follows the view with a delay."""
        self.page.wait_for_timeout(400)
        found = self.page.evaluate("location.hash")
        assert found == self.page.evaluate("halosearch.address()")
        return found

    def go_to(self, fragment):
        """Another view, as if somebody had typed its address; returns when the page shows it."""
        self.page.evaluate(
            """f => { if (halosearch.address() === f) return;
            const heard = new Promise(done => addEventListener("hashchange", done, { once: true }));
            location.hash = f; return heard; }""",
            fragment,
        )
        self.settled()

    def download(self, selector):
        with self.page.expect_download() as begun:
            self.page.click(selector)
        return begun.value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()
