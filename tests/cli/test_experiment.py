"""Experiments as a user runs them: real processes, kills, other numbers of workers."""

import json
import random
import signal
import time

import pytest
import yaml

from halosearch.record.evaluation import ARM
from halosearch.record.table import Table
from tests.cli.process import error_of, halosearch, here, start

pytestmark = pytest.mark.xdist_group("experiment")  # one worker runs its experiment for all

FILE = {
    "question": "Does a halo help?",
    "base": "s=48,b=4,h=0,rv=1,rb=1,l3=1",
    "vary": {"h": [0, 1]},
    "arms": {
        "rival": "efficientnet:w=0.5,d=0.5,s=48",
        "small batches": {"recipe.batch": 8, "recipe.label_smoothing": 0},
    },
    "seeds": 3,
    "images": [32, 64],
    "preset": {
        "name": "cpu-2m",
        "batch": 16,
        "train_images": 64,
        "test_images": 32,
        "timing_batch": 2,
        "timing_rounds": 4,
    },
    "timing_rows": 2,
    "expect": ["score(h=1) > score(h=0)", "step_time(h=0) < 100 * step_time(rival)"],
}


def write(folder, values=FILE):
    (folder / "halo.yaml").write_text(yaml.safe_dump(values))
    return folder / "halo.yaml"


def scores(folder):
    rows = Table(folder / "studies" / "halo" / "trials.journal", create=False, read_only=True).rows()
    return {row.repeats: row.scores for row in rows if row.kind == ARM}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    said = halosearch("experiment", write(folder), "--workers", 1, "--json", cwd=folder, check=0)
    return folder, json.loads(said.stdout)


@pytest.mark.slow
def test_an_experiment_ends_with_a_verdict_an_interval_and_a_picture(undisturbed, monkeypatch):
    folder, found = undisturbed
    assert found["finished"]
    assert [each["text"] for each in found["expectations"]] == FILE["expect"]
    assert all(each["low"] < each["effect"] < each["high"] for each in found["expectations"])
    assert found["expectations"][1]["verdict"] == "confirmed"
    assert found["trainings"] == {"done": 12, "planned": 12}
    assert {len(row) for row in scores(folder).values()} == {2}
    page = (folder / "reports" / "halo" / "index.html").read_text()
    assert "score(h=1) &gt; score(h=0)" in page
    assert page.count("<img") == 3
    for words in (["status", "halo"], ["experiment", "halo"], ["report", "halo", "--figures", "svg"]):
        done = here(*words, cwd=folder, monkeypatch=monkeypatch)
        assert done.returncode == 0, done.stderr
    assert (folder / "reports" / "halo" / "figures" / "effects.svg").stat().st_size > 1000
    for words in (["frontier", "halo"], ["study", "halo"], ["export", "halo"], ["predict", "halo"]):
        assert "is an experiment" in error_of(here(*words, cwd=folder, monkeypatch=monkeypatch))
    priced = here("experiment", "halo", "--dry-run", "--effect", "0.5", cwd=folder, monkeypatch=monkeypatch)
    assert "measured on 3 seeds" in priced.stdout


@pytest.mark.slow
def test_kills_and_another_number_of_workers_give_the_same_rows(undisturbed, tmp_path):
    path, rng = write(tmp_path), random.Random(3)
    for _ in range(3):
        run = start("experiment", path, "--workers", 2, cwd=tmp_path)
        until = time.monotonic() + rng.uniform(3, 9)
        while run.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    halosearch("experiment", path, "--workers", 2, cwd=tmp_path, check=0)
    assert scores(tmp_path) == scores(undisturbed[0])


@pytest.mark.slow
def test_what_is_changed_after_a_result_is_said_and_other_arms_are_another_experiment(undisturbed, tmp_path):
    import shutil

    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    path = write(tmp_path, FILE | {"expect": ["score(h=1) < score(h=0)"]})
    said = halosearch("experiment", path, cwd=tmp_path, check=0)
    assert "changed after results were there (after 14 of them)" in said.stdout
    page = (tmp_path / "reports" / "halo" / "index.html").read_text()
    assert "score(h=1) &gt; score(h=0)" in page
    other = halosearch(
        "experiment", write(tmp_path, FILE | {"base": "s=48,b=4,h=0,rv=1,rb=2,l3=1"}), cwd=tmp_path, check=2
    )
    assert "begun with" in error_of(other)
    found = halosearch("experiment", write(tmp_path), "--seeds", 4, "--json", cwd=tmp_path, check=0)
    assert json.loads(found.stdout)["trainings"] == {"done": 16, "planned": 16}


def test_a_file_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    assert "cannot be read" in error_of(here("experiment", "none.yaml", cwd=tmp_path, monkeypatch=monkeypatch))
    assert "no study" in error_of(here("experiment", "none", cwd=tmp_path, monkeypatch=monkeypatch))
