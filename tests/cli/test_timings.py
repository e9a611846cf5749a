"""`halosearch time --compare` and `predict`, as processes."""

import json

import pytest

from tests.cli.process import halosearch, here

SMALL = "s=32,b=4,h=1,rb=0.5,l3=1,w=16,heads=1-1-1-1"

LARGE = SMALL.replace("s=32", "s=256")


@pytest.mark.slow
def test_compare_prints_ratios_and_writes_every_raw_sample(tmp_path):
    done = halosearch(
        "time", SMALL, SMALL, LARGE, "--compare", "--train", "--rounds", "6", "--batch-size", "2",
        "--threads", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "step-times.json").read_text())
    names = [each["name"] for each in document["measurements"]]
    assert names == [SMALL, f"{SMALL} #2", LARGE]
    assert all(len(each["samples_s"]) == len(each["conditions"]) == 6 for each in document["measurements"])
    same, larger = document["comparisons"]
    assert larger["ratio"]["median"] > 1.5
    assert larger["verdict"] in ("slower", "unresolved")  # a busy machine may disturb one of six rounds
    assert same["ratio"]["low"] <= same["ratio"]["median"] <= same["ratio"]["high"]
    assert document["peaks"]["flops_per_s"] > 1e8
    assert "verdict" in done.stdout
    assert "step-times.json" in done.stdout
    for each in document["measurements"]:
        assert each["seconds"]["median"] * each["share_of_floor"] == pytest.approx(each["floor_s"])
        assert (each["whose"], each["user_seconds"]) == ("user", each["seconds"])


@pytest.mark.slow
@pytest.mark.long
def test_every_model_at_its_best_batch(tmp_path):
    done = halosearch("time", SMALL, "--batch-size", "best", "--infer", "--rounds", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    batch = json.loads(done.stdout)["measurements"][0]["plan"]["batch_size"]
    assert batch >= 2
    assert batch & (batch - 1) == 0
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_are_one_sentence(tmp_path, monkeypatch):
    for words, code, said in (
        (["time", SMALL, "--batch-size", "many"], 2, "not a number of images"),
        (["time", SMALL, "--batch-size", "0"], 2, "not a number of images"),
        (["time", SMALL, SMALL, "--batch-size", "best", "--compare"], 2, "not compared step by step"),
        (["time", SMALL, "--compare"], 2, "needs two"),
        (["time", SMALL, "--batch-size", "1"], 2, "training step of 1 image"),
        (["time", SMALL, "--output", "no/such/folder/x.json"], 2, "there is no folder"),
        (["time", "timm:no_such_model"], None, "timm"),
        (["predict", "nothing"], 2, "nothing"),
    ):
        done = here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == code if code else done.returncode in (2, 4)
        assert len(done.stderr.splitlines()) <= 2
