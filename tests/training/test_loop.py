"""Full trainings: the same result however often they are stopped, and however many processes share them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from halosearch.errors import EnvironmentFault
from halosearch.families.known import build, parse_candidate
from halosearch.proxy.data.pictures import open_pictures
from halosearch.training.job import ModelJob
from halosearch.training.loop import DivergedError, ModelTrainer, StoppedError
from halosearch.training.recipe import ModelRecipe
from tests.cli.process import error_of, halosearch, here
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
    with pytest.raises(EnvironmentFault, match=r"checkpoint\.pt cannot be read, or is of another training"):
        trainer(tmp_path, data, seed=1).run()
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(EnvironmentFault, match="cannot be read") as damaged:
        trainer(tmp_path, data).run()
    assert "remove it to begin anew" in damaged.value.hint
    (tmp_path / "checkpoint.pt").unlink()
    other, _ = trainer(tmp_path, data, seed=1).run()
    assert plain(other) != plain(undisturbed[0])


def test_pictures_that_cannot_be_read_are_named_and_left_out(tmp_path):
    root = fill(tmp_path / "pictures")
    (root / "train" / "red" / "000.png").write_bytes(b"no picture")
    (root / "val" / "red" / "000.png").write_bytes(b"no picture")
    progress, _ = trainer(tmp_path, root).run()
    assert set(progress.unreadable) == {"train/red/000.png", "val/red/000.png"}
    assert progress.epochs[-1]["scored"] == 17
    assert "UnidentifiedImageError" in progress.unreadable["train/red/000.png"]


@pytest.mark.parametrize(
    ("split", "why"),
    [("train", "36 pictures cannot be read|pictures cannot be read, the first"), ("val", "not one of")],
)
def test_data_that_is_gone_ends_the_training_with_a_sentence(tmp_path, split, why):
    root = fill(tmp_path / "pictures", train=30)
    source = trainer(tmp_path, root)
    for path in (root / split).glob("*/*.png"):
        path.write_bytes(b"gone")
    with pytest.raises(EnvironmentFault, match=why):
        source.run()


def test_a_loss_that_is_no_number_ends_the_training(data, tmp_path):
    recipe = RECIPE.model_copy(update={"learning_rate": 1e12, "clip": 0.0, "optimizer": "sgd"})
    with pytest.raises(DivergedError, match="no number before step"):
        trainer(tmp_path, data, recipe).run()


WORKER = """
import json, os, sys, torch
from pathlib import Path
from halosearch.training.world import together, world_here
from tests.training.test_loop import RECIPE, plain, trainer
torch.set_num_threads(1)
world = world_here()
folder, data, dies = Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
with together(world, "cpu"):
    def stop():
        if dies and world.rank == 1 and (folder / "checkpoint.pt").exists():
            os.kill(os.getpid(), 9)
        return False
    progress, kept = trainer(folder, data, RECIPE, world=world, should_stop=stop, save_every_s=0.0).run()
torch.save(kept, folder / f"kept-{world.rank}.pt")
if world.leads:
    (folder / "rows.json").write_text(json.dumps(plain(progress)))
"""


def shared(folder, data, *more):
    """The training on two processes that torchrun starts."""
    script = folder.parent / "worker.py"
    script.write_text(WORKER)
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    run = lambda: subprocess.run(  # noqa: E731
        [*words, str(folder), str(data), *more], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    done = run()
    return run() if "connectFullMesh failed" in done.stderr else done  # gloo found no peer: nothing had begun


def ended(folder, done):
    """Rows, and what both processes keep."""
    assert done.returncode == 0, done.stderr[-3000:]
    kept = [torch.load(folder / f"kept-{rank}.pt", weights_only=True) for rank in range(2)]
    return json.loads((folder / "rows.json").read_text()), kept


@pytest.mark.slow
@pytest.mark.long  # gloo of several processes is not to be trusted beside a busy suite
def test_two_processes_give_the_loss_curve_of_one_with_the_same_batch_in_two_parts(data, tmp_path):
    """Batch norm sees the same halves either way, and gradients are summed in another order; then one process dies on the way."""
    two, kept = ended(tmp_path / "two", shared(tmp_path / "two", data))
    assert all(torch.equal(kept[1][name], each) for name, each in kept[0].items()), "both keep the same network"
    (tmp_path / "one").mkdir()
    halves = RECIPE.model_copy(update={"accumulate": 2})
    one = plain(trainer(tmp_path / "one", data, halves).run()[0])
    for row, other in zip(two, one, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    whole = plain(trainer(tmp_path, data).run()[0])
    assert two[0]["train_loss"] != pytest.approx(whole[0]["train_loss"], rel=1e-6), (
        "parts have batch norms of their own"
    )
    folder = tmp_path / "killed"
    assert shared(folder, data, "dies").returncode != 0
    assert not (folder / "rows.json").exists()
    killed, after = ended(folder, shared(folder, data))
    assert killed == two
    assert all(torch.equal(after[0][name], each) for name, each in kept[0].items())


@pytest.mark.slow
def test_ray_s_workers_give_the_loss_curve_of_one_process_in_two_parts(data, tmp_path):
    words = ["train-model", CANDIDATE, "--data", data, "--epochs", 2, "--batch", 8, "--device", "cpu"]
    done = halosearch(*words, "--name", "two", "--ray", "--workers", 2, cwd=tmp_path, check=0)
    assert "top-1 after 2 epochs" in done.stdout
    halosearch(*words, "--name", "one", "--accumulate", 2, cwd=tmp_path, check=0)
    one, two = (
        json.loads((tmp_path / "models" / name / "model.json").read_text())["epochs"] for name in ("one", "two")
    )
    assert [row["train_loss"] for row in two] == pytest.approx([row["train_loss"] for row in one], rel=1e-4)
    refused = halosearch(*words, "--name", "two", "--seed", 1, "--ray", cwd=tmp_path, check=2)
    assert "begun with another seed" in error_of(refused)


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_on_the_way_changes_nothing(data, tmp_path):
    words = ["train-model", CANDIDATE, "--data", data, "--epochs", 8, "--batch", 8, "--device", "cpu", "--ray"]
    line = [sys.executable, "-m", "halosearch", *map(str, words), "--name", "killed"]
    about = tmp_path / "models" / "killed" / "model.json"
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not (about.exists() and json.loads(about.read_text()).get("epochs")):
            assert running.poll() is None, running.stderr.read()[-3000:]
            time.sleep(0.05)
        family = psutil.Process(running.pid).children(recursive=True)
        workers = [each for each in family if "RayTrainWorker" in " ".join(each.cmdline())]
        assert len(workers) == 2
        assert not json.loads(about.read_text())["finished"]
        workers[1].kill()
        said, errors = running.communicate(timeout=240)
    assert running.returncode == 0, errors[-3000:]
    assert "top-1 after 8 epochs" in said
    halosearch(*words, "--name", "whole", cwd=tmp_path, check=0)
    killed, whole = (
        json.loads((tmp_path / "models" / name / "model.json").read_text()) for name in ("killed", "whole")
    )
    strip = lambda about: [{k: v for k, v in row.items() if k != "seconds"} for row in about["epochs"]]  # noqa: E731
    assert strip(killed) == strip(whole)
    kept, other = (torch.load(tmp_path / "models" / name / "weights.pt") for name in ("killed", "whole"))
    assert all(torch.equal(kept[name], each) for name, each in other.items())


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
        (["--frozen", "6"], "the network has 4 stages"),
        (["--batch", "2", "--accumulate", "2"], "batch norm needs 2"),
        (["--batch", "9", "--accumulate", "2"], "does not divide into 2 parts"),
        (["--embeddings", "lost"], "--embeddings lost is unknown"),
        (["--init", "nowhere"], "no weights at nowhere"),
        (["--name", "a/b"], "cannot be called 'a/b'"),
        (["--data", "nowhere"], "no data at nowhere"),
        (["--data", "scenes-easy-2"], "not pictures of classes"),
        (["--optimizer", "lion"], "--optimizer cannot be 'lion'"),
        (["--warmup-epochs", "3", "--epochs", "2"], "3 epochs of warm-up leave nothing of 2"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(data, tmp_path, monkeypatch, more, why):
    words = ["train-model", CANDIDATE, "--device", "cpu", *(["--data", data] if "--data" not in more else [])]
    assert why in error_of(here(*words, *more, cwd=tmp_path, monkeypatch=monkeypatch))
