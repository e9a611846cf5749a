"""Is the report quick at 1,000 and 10,000 trials? Writes pages of random trials and opens them in headless Chromium, offline.

    python -m benchmarks.report [--sizes 1000,10000] [--rounds 5] [--chromium PATH]

Limits: the page 6 / 8 MB, its answer visible after 0.5 s, the front drawn and interactive after 2 / 4 s, a linked update in 200 / 500 ms
(as the page opens, and with every section open), the report of 10,000 trials written in 8 s; no request, no console error, no WebGL context.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.recording import HERE, provenance, table, write
from benchmarks.report_trials import evidence
from halosearch.report.page import write_report
from halosearch.report.summary import summarise

LIMITS = {
    "page_mb": {1000: 6.0, 10_000: 8.0},
    "answer_s": {1000: 0.5, 10_000: 0.5},
    "filters_s": {1000: 2.0, 10_000: 4.0},
    "front_s": {1000: 2.0, 10_000: 4.0},
    "picture_s": {1000: 2.0, 10_000: 4.0},
    "update_ms": {1000: 200.0, 10_000: 500.0},
    "update_all_ms": {1000: 200.0, 10_000: 500.0},
    "write_s": {1000: 8.0, 10_000: 8.0},
    "requests": {1000: 0, 10_000: 0},
    "console_errors": {1000: 0, 10_000: 0},
    "webgl_contexts": {1000: 0, 10_000: 0},
}
WORDS = {
    "page_mb": "page (MB)",
    "answer_s": "answer painted (s)",
    "filters_s": "filters, table and downloads answer (s)",
    "front_s": "front drawn and brushable (s)",
    "picture_s": "first screen whole, the front as a picture in it (s)",
    "unfold_s": "all sections opened and their charts drawn (s)",
    "update_ms": "linked update, as the page opens (ms)",
    "update_all_ms": "linked update, every section open: all charts and table (ms)",
    "write_s": "summary and report written (s)",
    "requests": "network requests",
    "console_errors": "console errors",
    "webgl_contexts": "WebGL contexts",
}
PAINTS = """
window.paints = [];
new PerformanceObserver((list) => window.paints.push(...list.getEntries().map((e) => e.startTime / 1000)))
  .observe({ type: "largest-contentful-paint", buffered: true });
"""
UNFOLD = "document.querySelectorAll('section > details').forEach((one) => { one.open = true; })"
COUNT_WEBGL = """
window.webgl = 0;
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  const found = original.call(this, kind, ...rest);
  if (String(kind).includes("webgl") && found) window.webgl++;
  return found;
};
"""
ONE_UPDATE = """
(share) => {
  const slider = document.querySelector("input[aria-label^='highest parameters']");
  slider.value = Math.round(slider.max * share);
  const begun = performance.now();
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun), 0))));
}
"""


def opened(browser, page):
    """Figures of one opening."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    tab = context.new_page()
    tab.add_init_script(COUNT_WEBGL)
    tab.add_init_script(PAINTS)
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    marks = dict(tab.evaluate("performance.getEntriesByType('mark').map(m => [m.name, m.startTime / 1000])"))
    paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    before_front = "(at) => at <= performance.getEntriesByName('halosearch-front')[0].startTime / 1000"
    picture = tab.evaluate(f"Math.max(...window.paints.filter({before_front}))")
    updates = [tab.evaluate(ONE_UPDATE, share) for share in (0.9, 0.5, 0.2, 0.7, 0.99)]
    begun = time.perf_counter()
    tab.evaluate(UNFOLD)
    tab.wait_for_selector("section > details:not([data-drawn=yes])", state="detached")
    unfolded = time.perf_counter() - begun
    tab.wait_for_timeout(500)
    all_updates = [tab.evaluate(ONE_UPDATE, share) for share in (0.9, 0.5, 0.2, 0.7, 0.99)]
    found = {
        "answer_s": paint,
        "filters_s": marks["halosearch-filters"],
        "front_s": marks["halosearch-front"],
        "picture_s": picture,
        "unfold_s": unfolded,
        "update_ms": statistics.median(updates),
        "update_all_ms": statistics.median(all_updates),
        "requests": len([url for url in requests if not url.startswith("file:")]),
        "console_errors": len(errors),
        "webgl_contexts": tab.evaluate("window.webgl"),
    }
    context.close()
    return found | {"updates_ms": updates, "errors": errors}


def measured(size, rounds, browser, folder):
    """Figures for one size, as lists over rounds."""
    found = evidence(size)
    raw = {"write_s": []}
    for _ in range(min(rounds, 3)):
        begun = time.perf_counter()
        page = write_report(folder / str(size), summarise(found))
        raw["write_s"].append(time.perf_counter() - begun)
    raw["page_mb"] = [page.stat().st_size / 1e6]
    for _ in range(rounds):
        for name, value in opened(browser, page).items():
            raw.setdefault(name, []).append(value)
    return raw


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--device", default="cpu", help="only named in the provenance")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    where = provenance(torch.device("cpu"))
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox", "--disable-gpu"])
        where["chromium"] = browser.version
        raw = {size: measured(size, arguments.rounds, browser, Path(folder)) for size in sizes}
        browser.close()
    rows = []
    for name, words in WORDS.items():
        for size in sizes:
            values = raw[size][name]
            middle, limit = statistics.median(values), LIMITS.get(name, {}).get(size)
            verdict = "-" if limit is None else "met" if middle <= limit else "NOT met"
            rows.append(
                [
                    words,
                    f"{size:,}",
                    f"{middle:.3g}",
                    f"{min(values):.3g} to {max(values):.3g}",
                    "-" if limit is None else f"{limit:g}",
                    verdict,
                ]
            )
    text = [
        "# How quick the report is",
        "",
        f"Pages of random trials in headless Chromium {where['chromium']}, without a GPU, offline; medians of {arguments.rounds} openings.",
        "`front drawn and brushable` contains the time in which the browser runs plotly.js itself; the picture of the front is there before it.",
        "Firefox opens the page (a test), but its times and those of a browser with a GPU are unmeasured.",
        "",
        table(["what", "trials", "median", "range", "limit", ""], rows),
    ]
    document = {"provenance": where, "limits": LIMITS, "raw": {str(size): values for size, values in raw.items()}}
    write("report", torch.device("cpu"), document, "\n".join(text), arguments.folder)
    print(json.dumps([row for row in rows if row[-1] == "NOT met"], indent=1))


if __name__ == "__main__":
    main()
