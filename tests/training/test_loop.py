"""Full trainings: the same result however often they are stopped, and however many processes share them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from halosearch.errors import EnvironmentFault
from halosearch.families.foreign import is_there
from halosearch.families.known import build, parse_candidate
from halosearch.proxy.data.pictures import open_pictures
from halosearch.report.model_page import model_answer
from halosearch.run.model import let_out
from halosearch.training.job import DivergedError, ModelJob, StoppedError
from halosearch.training.loop import ModelTrainer
from halosearch.training.recipe import ModelRecipe
from halosearch.training.world import World
from tests.cli.process import error_of, halosearch, here
from tests.training.pictures import fill

CANDIDATE = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1,conv=2"
RECIPE = ModelRecipe(epochs=2, batch=8, warmup_epochs=1, stochastic_depth=0.2, dropout=0.1, ema=0.9, randaugment=0)


def trainer(folder, data, recipe=RECIPE, seed=0, **world):
    source = open_pictures(str(data))
    torch.manual_seed(seed)
    network = build(parse_candidate(CANDIDATE), len(source.classes))
    let_out(network, recipe)
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
    [("train", "pictures cannot be read, the first"), ("val", "not one of")],
)
def test_data_that_is_gone_ends_the_training_with_a_sentence(tmp_path, split, why):
    root = fill(tmp_path / "pictures", train=30)
    source = trainer(tmp_path, root)
    for path in (root / split).glob("*/*.png"):
        path.write_bytes(b"gone")
    with pytest.raises(EnvironmentFault, match=why):
        source.run()


def test_scored_pictures_that_cannot_be_read_stop_the_training_which_goes_on_when_they_are_back(
    data, undisturbed, tmp_path
):
    root = fill(tmp_path / "pictures")
    broken = sorted((root / "val" / "red").glob("*.png"))[:3]
    whole = [path.read_bytes() for path in broken]
    asked = trainer(tmp_path, root)
    for path in broken:
        path.write_bytes(b"gone")
    with pytest.raises(EnvironmentFault, match="3 pictures to score cannot be read, the first: val/red"):
        asked.run()
    for path, kept in zip(broken, whole, strict=True):
        path.write_bytes(kept)
    progress, kept = trainer(tmp_path, root).run()
    assert plain(progress) == plain(undisturbed[0])
    assert progress.epochs[-1]["scored"] == 18
    assert all(torch.equal(kept[name], each) for name, each in undisturbed[1].items())


def test_stochastic_depth_and_dropout_are_part_of_a_training(data, undisturbed, tmp_path):
    for name in ("stochastic_depth", "dropout"):
        progress, _ = trainer(tmp_path / name, data, RECIPE.model_copy(update={name: 0.0})).run()
        assert progress.epochs[-1]["train_loss"] != undisturbed[0].epochs[-1]["train_loss"]


def test_frozen_stages_keep_weights_and_statistics(data, tmp_path):
    asked = trainer(tmp_path, data, RECIPE.model_copy(update={"frozen": 2, "ema": 0.0}))
    before = {name: each.clone() for name, each in asked.network.state_dict().items()}
    _, kept = asked.run()
    same = {name.split(".")[1] if name.startswith("stages") else name.split(".")[0] for name, each in kept.items()
            if torch.equal(each, before[name]) and each.numel() > 1}  # fmt: skip
    assert {"stem", "0", "1"} <= same
    for name, each in kept.items():
        if name.startswith(("stem.", "stages.0.", "stages.1.")):
            assert torch.equal(each, before[name]), name
        elif name.endswith("running_mean"):
            assert not torch.equal(each, before[name]), name


@pytest.mark.slow
def test_mixing_and_randaugment_are_repeated_by_readers_beside_and_after_a_stop(data, tmp_path):
    if not is_there("torchvision"):
        pytest.skip("needs torchvision")
    recipe = RECIPE.model_copy(update={"randaugment": 9, "mixup": 0.4, "cutmix": 1.0})
    progress, kept = trainer(tmp_path / "whole", data, recipe).run()
    beside, same = trainer(tmp_path / "beside", data, recipe, loader_workers=1).run()
    count = [0]

    def stop():
        count[0] += 1
        return count[0] == 3

    with pytest.raises(StoppedError):
        trainer(tmp_path / "stopped", data, recipe, should_stop=stop).run()
    resumed, again = trainer(tmp_path / "stopped", data, recipe).run()
    assert plain(progress) == plain(beside) == plain(resumed)
    assert all(torch.equal(kept[name], same[name]) and torch.equal(kept[name], again[name]) for name in kept)
    without, _ = trainer(tmp_path / "without", data, recipe.model_copy(update={"randaugment": 0})).run()
    assert plain(without) != plain(progress)


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
with together(world, torch.device("cpu")):
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
def test_an_interrupt_of_the_whole_group_with_readers_beside_ends_in_order_and_goes_on(data, tmp_path):
    """As Ctrl-C does: readers and training get the signal together."""
    words = [
        "train-model",
        CANDIDATE,
        "--data",
        data,
        "--epochs",
        40,
        "--batch",
        8,
        "--device",
        "cpu",
        "--loader-workers",
        1,
    ]
    line = [sys.executable, "-m", "halosearch", *map(str, words)]
    about = tmp_path / "models" / "model" / "model.json"
    for epochs in (1, 2):
        with subprocess.Popen(
            line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as running:
            while not (about.exists() and len(json.loads(about.read_text()).get("epochs", [])) >= epochs):
                assert running.poll() is None, running.stderr.read()[-3000:]
                time.sleep(0.02)
            os.killpg(running.pid, signal.SIGINT)
            _, errors = running.communicate(timeout=120)
        assert running.returncode == 130, errors[-3000:]
        assert "The same line goes on with it" in errors
        assert "bug" not in errors
    runs = json.loads(about.read_text())["runs"]
    assert [run["from_step"] > 0 for run in runs] == [False, True]


@pytest.mark.slow
def test_ray_s_workers_give_the_loss_curve_of_one_process_in_two_parts(data, tmp_path):
    words = ["train-model", CANDIDATE, "--data", data, "--epochs", 2, "--batch", 8, "--device", "cpu"]
    done = halosearch(*words, "--name", "two", "--ray", "--workers", 2, cwd=tmp_path, check=0)
    assert "top-1 on 18 pictures after 2 epochs" in done.stdout
    halosearch(*words, "--name", "one", "--accumulate", 2, cwd=tmp_path, check=0)
    one, two = (
        json.loads((tmp_path / "models" / name / "model.json").read_text())["epochs"] for name in ("one", "two")
    )
    assert [row["train_loss"] for row in two] == pytest.approx([row["train_loss"] for row in one], rel=1e-4)
    refused = halosearch(*words, "--name", "two", "--seed", 1, "--ray", cwd=tmp_path, check=2)
    assert "begun with another seed" in error_of(refused)


@pytest.mark.slow
@pytest.mark.long
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
    assert "top-1 on 18 pictures after 8 epochs" in said
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
    assert "top-1 on 18 pictures after 2 epochs" in done.stdout
    folder = tmp_path / "models" / "small"
    about = json.loads((folder / "model.json").read_text())
    assert about["finished"]
    assert about["classes"] == ["blue", "green", "red"]
    assert [(run["device"], run["precision"], run["processes"]) for run in about["runs"]] == [("cpu", "float32", 1)] * 2
    assert "1 process on cpu in float32" in done.stdout
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
        (["--learning-rate", "inf"], "--learning-rate cannot be inf"),
        (["--seed", str(2**64)], "--seed"),
        (["--data", __file__], "is a file, not a folder"),
        (["--warmup-epochs", "3", "--epochs", "2"], "3 epochs of warm-up leave nothing of 2"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(data, tmp_path, monkeypatch, more, why):
    words = ["train-model", CANDIDATE, "--device", "cpu", *(["--data", data] if "--data" not in more else [])]
    assert why in error_of(here(*words, *more, cwd=tmp_path, monkeypatch=monkeypatch))


def test_a_process_that_was_not_started_by_torchrun_says_so(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    said = error_of(
        here("train-model", CANDIDATE, "--data", data, "--device", "cpu", cwd=tmp_path, monkeypatch=monkeypatch)
    )
    assert "WORLD_SIZE is 2 and MASTER_ADDR is not said" in said


def test_a_candidate_of_a_study_is_said_to_be_one():
    about = {
        "params": 1, "macs": 1, "data": "pictures", "seconds": 1.0, "unreadable": [], "chosen": "20M#3",
        "job": {"candidate": "h0", "seed": 0, "recipe": RECIPE.model_dump()},
        "epochs": [{"epoch": 1, "top1": 0.5, "scored": 10}],
    }  # fmt: skip
    assert any("20M#3 was chosen by a study" in sentence for sentence in model_answer(about))
    assert not any("chosen by" in sentence for sentence in model_answer({**about, "chosen": ""}))


def test_each_of_several_processes_has_a_gpu_of_its_own_or_the_one_that_it_is_shown(monkeypatch):
    """A cluster's launcher may show every process one GPU, which is number 0 there whatever the process's number."""
    world = World(3, 4, 3)
    for shown, count, expected in (("", 4, 3), ("5", 1, 0), ("", 1, 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert world.local_device() == expected
