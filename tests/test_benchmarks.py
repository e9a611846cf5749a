"""The benchmark commands run end to end at their smallest and write a page and raw numbers with their provenance."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SMALLEST = {
    "attention": ["--quick", "--rounds", "2"],
    "same_model": ["--comparisons", "2", "--rounds", "2"],
    "step_times": ["--rounds", "2", "--models", "h0"],
    "prediction": ["--rounds", "2", "--known", "8", "--unseen", "2"],
    "report": ["--rounds", "1", "--sizes", "30"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [each if each in ("attention", "report") else pytest.param(each, marks=pytest.mark.long) for each in SMALLEST],
)
def test_a_benchmark_runs_and_records(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--device", "cpu", "--folder", str(tmp_path), *SMALLEST[name]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    page, raw = (next(tmp_path.glob(pattern)) for pattern in ("*.md", "results/*.json"))
    document = json.loads(raw.read_text())
    assert {"device", "torch", "commit", "command", "date"} <= set(document["provenance"])
    assert raw.name in page.read_text()
    assert "unmeasured" in page.read_text()


def test_committed_pages_stand_beside_their_raw_numbers():
    pages = sorted((ROOT / "benchmarks").glob("*-*.md"))
    assert pages
    for page in pages:
        document = json.loads((ROOT / "benchmarks/results" / f"{page.stem}.json").read_text())
        assert document["provenance"]["commit"] in page.read_text()


def test_the_page_of_the_proxy_says_what_the_committed_record_says(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.proxy", "studies/dense-6M", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made, kept = (
        json.loads((folder / "results" / "proxy-cpu.json").read_text())["dense-6M"]
        for folder in (tmp_path, ROOT / "benchmarks")
    )
    assert made["candidates"] == kept["candidates"] == 34
    for one, other in zip(made["by_length"], kept["by_length"], strict=True):
        assert (one["images"], one["kind"]) == (other["images"], other["kind"])
        assert one["icc"] == pytest.approx(other["icc"])
        assert one["tau"] == pytest.approx(other["tau"])
