"""Full trainings: the same result however often they are stopped, and however many processes share them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from halosearch.families.known import build, parse_candidate
from halosearch.training.loop import DivergedError, ModelJob, ModelTrainer, StoppedError
from halosearch.training.pictures import open_pictures
from halosearch.training.recipe import ModelRecipe
from tests.cli.process import error_of, here
from tests.training.pictures import fill

CANDIDATE = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1,conv=2"
RECIPE = ModelRecipe(epochs=2, batch=8, warmup_epochs=1, stochastic_depth=0.2, dropout=0.1, ema=0.9, randaugment=0)


def trainer(folder, data, recipe=RECIPE, seed=0, **world):
    source = open_pictures(str(data))
    torch.manual_seed(seed)
    network = build(parse_candidate(CANDIDATE), len(source.classes))
    network.dropout = recipe.dropout
    job = ModelJob(CANDIDATE, 32, len(source.classes), recipe, seed, source.fingerprint)
    return ModelTrainer(job, network, source, torch.device("cpu"), folder / "checkpoint.pt", **world)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return trainer(tmp_path_factory.mktemp("whole"), data).run()


def plain(progress):
    """Rows without what the clock says."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in progress.epochs]


@pytest.mark.parametrize("stops", [(1,), (4, 3), (3, 1, 2)])
def test_a_training_that_is_stopped_and_resumed_ends_like_one_that_never_was(data, undisturbed, tmp_path, stops):
    for stop in stops:
        count = [0]

        def asked(last=stop, count=count):
            count[0] += 1
            return count[0] >= last

        with pytest.raises(StoppedError):
            trainer(tmp_path, data, should_stop=asked).run()
    progress, kept = trainer(tmp_path, data).run()
    assert plain(progress) == plain(undisturbed[0])
    assert set(kept) == set(undisturbed[1])
    assert all(torch.equal(kept[name], each) for name, each in undisturbed[1].items())


def test_a_finished_training_learns_what_is_easy(undisturbed):
    progress, _ = undisturbed
    assert [row["epoch"] for row in progress.epochs] == [1, 2]
    assert progress.epochs[-1]["images"] == 2 * 4 * 8
    assert progress.epochs[-1]["train_loss"] < progress.epochs[0]["train_loss"]
    assert progress.epochs[-1]["top5"] == 1.0  # three classes


def test_readers_beside_give_the_same_pictures(data, undisturbed, tmp_path):
    progress, kept = trainer(tmp_path, data, loader_workers=2).run()
    assert plain(progress) == plain(undisturbed[0])
    assert all(torch.equal(kept[name], each) for name, each in undisturbed[1].items())


def test_another_seed_or_recipe_does_not_go_on_from_a_checkpoint(data, undisturbed, tmp_path):
    assert trainer(tmp_path, data).run()[0].epochs
    other, _ = trainer(tmp_path, data, seed=1).run()
    assert plain(other) != plain(undisturbed[0])


def test_pictures_that_cannot_be_read_are_named_and_left_out(tmp_path):
    root = fill(tmp_path / "pictures")
    (root / "train" / "red" / "000.png").write_bytes(b"no picture")
    (root / "val" / "red" / "000.png").write_bytes(b"no picture")
    progress, _ = trainer(tmp_path, root).run()
    assert set(progress.unreadable) == {"train/red/000.png"}
    assert "UnidentifiedImageError" in progress.unreadable["train/red/000.png"]


def test_a_loss_that_is_no_number_ends_the_training(data, tmp_path):
    recipe = RECIPE.model_copy(update={"learning_rate": 1e12, "clip": 0.0, "optimizer": "sgd"})
    with pytest.raises(DivergedError, match="no number before step"):
        trainer(tmp_path, data, recipe).run()


WORKER = """
import json, sys, torch
from pathlib import Path
from halosearch.training.world import together, world_here
from tests.training.test_loop import RECIPE, plain, trainer
torch.set_num_threads(1)
world = world_here()
folder, data = Path(sys.argv[1]), sys.argv[2]
with together(world, "cpu"):
    progress, kept = trainer(folder, data, RECIPE, world=world).run()
if world.leads:
    (folder / "rows.json").write_text(json.dumps(plain(progress)))
"""


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one_with_the_same_batch_in_two_parts(data, tmp_path):
    """Batch norm sees the same eight halves either way, and gradients are summed in another order."""
    script, folder = tmp_path / "worker.py", tmp_path / "two"
    script.write_text(WORKER)
    folder.mkdir()
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        str(folder),
        str(data),
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads((folder / "rows.json").read_text())
    (tmp_path / "one").mkdir()
    halves = RECIPE.model_copy(update={"accumulate": 2})
    one = plain(trainer(tmp_path / "one", data, halves).run()[0])
    for row, other in zip(two, one, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    whole = plain(trainer(tmp_path, data).run()[0])
    assert two[0]["train_loss"] != pytest.approx(whole[0]["train_loss"], rel=1e-6), (
        "parts have batch norms of their own"
    )


def test_the_command_trains_says_what_it_scores_and_goes_on(data, tmp_path, monkeypatch):
    words = [
        "train-model",
        CANDIDATE,
        "--data",
        data,
        "--name",
        "small",
        "--epochs",
        2,
        "--batch",
        8,
        "--device",
        "cpu",
    ]
    stopped = here(*words, "--max-time", "0.01s", cwd=tmp_path, monkeypatch=monkeypatch)
    assert "The same line goes on with it" in stopped.stderr
    done = here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert "top-1 after 2 epochs" in done.stdout
    folder = tmp_path / "models" / "small"
    about = json.loads((folder / "model.json").read_text())
    assert about["finished"]
    assert about["classes"] == ["blue", "green", "red"]
    assert (folder / "log.csv").read_text().count("\n") == 3
    assert "<img" in (folder / "index.html").read_text()
    again = here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
    assert again.stdout == done.stdout
    other = here(*words, "--seed", 3, cwd=tmp_path, monkeypatch=monkeypatch)
    assert "begun with another seed" in error_of(other)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--recipe", "long"], "no recipe 'long'"),
        (["--batch", "9", "--accumulate", "2"], "does not divide into 2 parts"),
        (["--embeddings", "lost"], "--embeddings lost is unknown"),
        (["--init", "nowhere"], "no weights at nowhere"),
        (["--name", "a/b"], "cannot be called 'a/b'"),
        (["--data", "nowhere"], "no data at nowhere"),
        (["--data", "scenes-easy-2"], "not pictures of classes"),
        (["--optimizer", "lion"], "'sgd' or 'adamw'"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(data, tmp_path, monkeypatch, more, why):
    words = ["train-model", CANDIDATE, "--device", "cpu", *(["--data", data] if "--data" not in more else [])]
    assert why in error_of(here(*words, *more, cwd=tmp_path, monkeypatch=monkeypatch))
