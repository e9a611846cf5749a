import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from benchmarks.report_trials import rows_of
from halosearch.analysis.validation_rows import validation_of
from halosearch.record.trials import Trial
from halosearch.report.evidence import Evidence
from halosearch.report.page import render, write_report
from halosearch.report.summary import summarise
from halosearch.report.wording import answer_sentences
from halosearch.run.begin import request, resolve

ROOT = Path(__file__).parents[2]

DIALS = {
    "image_size": 64,
    "block_size": 8,
    "halo_size": 2,
    "value_ratio": 1.0,
    "expansion_ratio": 3.0,
    "stage3_depth": 12,
    "final_width": 1280,
    "heads": "published",
    "conv_stages": 0,
}
COSTS = {"params": 19_103_464, "macs": 10**9, "activations": 10**7}


def result(score, step):
    final = {
        "images": 512,
        "score": score,
        "cross_entropy": {"shape": 1.5},
        "accuracy": {"shape": 0.4},
        "chance": {"shape": 0.17},
        "joint_accuracy": 0.1,
        "images_seen": 512,
    }
    return {
        "score": score,
        "step_time_s": step,
        "step_time_low_s": step * 0.9,
        "step_time_high_s": step * 1.1,
        "final": final,
        "scores": [final],
        "curve": [[32, 4.0], [64, 3.5]],
        "images_per_s": 90.0,
        "seconds": 12.0,
        "step_time": {"seconds": {"median": step}, "memory_bytes": 10**8},
    }


def trial(number, state="complete", score=0.2, step=0.5, reason=""):
    return Trial(
        number,
        DIALS | {"stage3_depth": 1 + number % 30},
        COSTS,
        state,
        1,
        reason,
        result(score, step) if state == "complete" else {},
    )


def evidence(
    trials,
    notes=None,
    name="20M",
    description="procedural scenes, version scenes-easy-1, seed 0 (synthetic)",
    tmp="nowhere",
):
    study = resolve(request(budget_params=20_000_000, name="x", device="cpu"), lambda _: "cpu")[0]
    spec = study.model_dump(mode="json") | {"name": name}
    data = {
        "description": description,
        "images": {"train": 100, "test": 50},
        "unreadable": [],
        "skipped": [],
        "empty_classes": [],
        "unused": 0,
    }
    rows = rows_of(trials, notes or {})
    validation = validation_of(rows, study.uniform)
    return Evidence(spec, rows, trials, 1234, data, validation, ["H4 is not compared with."])


MANY = [trial(i, score=0.1 + 0.03 * (i % 7), step=0.2 + 0.05 * (i % 5)) for i in range(12)] + [
    trial(12, "failed", reason="NaN"),
    trial(13, "running"),
]
RETESTS = {
    f"retest-{i}": {"state": "complete", "result": {"score": 0.1 + 0.03 * (i % 7) + 0.004 * (-1) ** i}}
    for i in range(6)
}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def parse(page):
    tags = Tags()
    tags.feed(page)
    return tags


def test_the_same_summary_gives_the_same_bytes():
    assert render(summarise(evidence(MANY, RETESTS))) == render(summarise(evidence(MANY, RETESTS)))


@pytest.mark.parametrize(
    "trials",
    [[], [trial(0)], [trial(0, "failed", reason="NaN")], [trial(0, "running")], [trial(0), trial(1)], MANY],
    ids=["none", "one", "all failed", "running", "ties", "many"],
)
def test_any_study_has_a_page_with_its_answer(trials, tmp_path):
    summary = summarise(evidence(trials))
    page = write_report(tmp_path, summary).read_text()
    text = " ".join(parse(page).text)
    for sentence in summary["answer"]:
        assert sentence in text
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "trials.csv").exists()


def test_the_page_asks_for_nothing_and_its_scripts_are_the_hashed_ones():
    page = render(summarise(evidence(MANY, RETESTS)))
    tags = parse(page).found
    assert not [
        attrs for _, attrs in tags if any(str(attrs.get(key, "")).startswith(("http", "//")) for key in ("src", "href"))
    ]
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    packed = re.search(r'<script type="application/octet-stream" id="plotly">(.*?)</script>', page, re.DOTALL)
    library = gzip.decompress(base64.b64decode(packed[1])).decode()
    assert library == get_plotlyjs()
    assert len(scripts) == 1
    for script in (*scripts, library):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.count("'sha256-") == 2


def test_hostile_text_is_text():
    bad = "</script><img src=x onerror=alert(1)>"
    page = render(summarise(evidence([trial(0), trial(1, "failed", reason=bad)], name=bad, description=bad)))
    pictures = [attrs for tag, attrs in parse(page).found if tag == "img"]
    assert all(
        set(attrs) <= {"alt", "src", "width", "height"} and attrs["src"].startswith("data:") for attrs in pictures
    )
    assert "<img src=x" not in page
    assert len(re.findall(r"<script[ >]", page)) == 3  # data, plotly.js, ours
    assert page.count("alert(1)") == page.count("onerror=alert(1)") > 0


def test_the_front_and_decisions_agree_with_the_table():
    summary = summarise(evidence(MANY, RETESTS))
    done = [t for t in summary["trials"] if t["state"] == "complete"]
    for t in done:
        beaten = any(
            o["score"] >= t["score"]
            and o["step_time_s"] <= t["step_time_s"]
            and (o["score"] > t["score"] or o["step_time_s"] < t["step_time_s"])
            for o in done
        )
        assert (t["trial"] in summary["front"]) == (not beaten)
    best = summary["decisions"][0]
    assert next(t for t in done if t["trial"] == best["trial"])["score"] == max(t["score"] for t in done)
    assert summary["agreement"]["n"] == 6
    assert summary["counts"] == {"complete": 12, "failed": 1, "running": 1}


def test_the_page_says_what_it_is_worth():
    text = " ".join(summarise(evidence(MANY, RETESTS))["answer"])
    assert "synthetic data" in text
    assert "CPU preset" in text
    assert "Kendall tau" in text
    assert "n = 6" in text
    assert "one seed each" in text
    assert "H4 is not compared with." in text


def test_finalists_are_told_apart_by_the_interval_of_their_difference():
    """Noise 0.1 of one score: means of two seeds differ beyond 0.196; single intervals overlap up to 0.277."""
    notes = {
        f"retest-{n}": {"state": "complete", "result": {"score": 0.1 + 0.03 * n + 0.1 * 2**0.5 * (-1) ** n}}
        for n in range(6)
    }
    trials = [trial(n, score=0.1 + 0.03 * n, step=0.1 + 0.1 * n) for n in range(6)]

    def final(score):
        return {"state": "complete", "result": {"score": score, "final": {"images": 64}}}

    for gap, words in ((0.15, "cannot be told from it"), (0.25, "the other finalists score less")):
        finals = {
            "final-5": final(0.9),
            "final-5-2": final(0.9),
            "final-4": final(0.9 - gap),
            "final-4-2": final(0.9 - gap),
        }
        summary = summarise(evidence(trials, notes | finals))
        assert [f["trial"] for f in summary["finals"]] == [5, 4]
        assert summary["answer"][0].startswith("Recommended: trial 5")
        assert words in summary["answer"][0]
        assert summary["decisions"][0]["trial"] == 5
        assert set(summary["attainment"]["on_front"]) == {str(n) for n in range(6)}


def test_a_search_that_was_forced_says_why_the_proxy_was_refused():
    summary = json.loads((ROOT / "reports" / "example-20M" / "summary.json").read_text())
    said = answer_sentences(summary | {"forced": "two seeds agree on nothing"})
    assert "The proxy failed its test and was searched with --force: two seeds agree on nothing." in said
