import math

import numpy as np
import pytest
import torch
from torch import nn

from halosearch.families.halonet.network import Bottleneck, HaloNet
from halosearch.families.halonet.notation import parse_candidate
from halosearch.families.halonet.twin import twin_of
from halosearch.proxy import scoring, stepping, training, zero_cost
from halosearch.proxy.data.dataset import TRAIN, Batch, DataReport, Factor
from halosearch.proxy.data.dense_scenes import DenseScenes
from halosearch.proxy.data.scenes import Scenes
from halosearch.proxy.recipe import Recipe, parameter_groups, residual_scale
from halosearch.proxy.scoring import evaluate, to_float
from halosearch.proxy.stepping import Stepping
from halosearch.proxy.training import DivergedError, Trainer, TrainingJob, TrainingStoppedError, batch_ids
from halosearch.proxy.zero_cost import ZERO_COST, zero_cost_scores

TWIN = twin_of(parse_candidate("s=48,b=6,h=1,rb=1,l3=1,conv=2"), 0.125)
CPU = torch.device("cpu")
JOB = TrainingJob(TWIN, Recipe(batch=16, warmup_steps=2), (64, 128), 0, 64)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return Scenes("scenes-easy-1", 0, 64)


def stopping_after(steps):
    count = [0]

    def should_stop():
        count[0] += 1
        return count[0] > steps

    return should_stop


@pytest.mark.slow
def test_a_training_stopped_at_any_step_resumes_to_the_same_bits(data, tmp_path):
    whole = Trainer(JOB, data, CPU).run()
    for steps in (1, 3, 4, 5, 7):
        path = tmp_path / f"{steps}.pt"
        with pytest.raises(TrainingStoppedError):
            Trainer(JOB, data, CPU, path, stopping_after(steps)).run()
        resumed = Trainer(JOB, data, CPU, path).run()
        assert [s.cross_entropy for s in resumed.scores] == [s.cross_entropy for s in whole.scores], steps
        assert resumed.curve == whole.curve


def test_training_scoring_and_untrained_scores_all_run_in_one_precision(data, monkeypatch):
    """On a GPU bfloat16 from end to end: kernels of float32 would be compiled beside, without tensor cores."""
    seen = []

    def lowered(device):
        seen.append(device)
        return torch.autocast("cpu", torch.bfloat16)

    for module in (training, stepping, scoring, zero_cost):
        monkeypatch.setattr(module, "autocast", lowered)
    plain, types = nn.Linear.forward, []

    def watched(layer, x):
        types.append(plain(layer, x).dtype)
        return plain(layer, x)

    monkeypatch.setattr(nn.Linear, "forward", watched)
    Trainer(TrainingJob(TWIN, JOB.recipe, (16,), 0, 16), data, CPU).run()
    assert set(types) == {torch.bfloat16}
    types.clear()
    zero_cost_scores(TWIN, data, 0, 8, CPU)
    assert set(types) == {torch.bfloat16, torch.float64}  # synflow's products leave every other type
    assert set(seen) == {CPU}


def test_a_rung_scores_what_training_to_that_rung_alone_scores(data):
    both = Trainer(JOB, data, CPU).run()
    first = Trainer(TrainingJob(TWIN, JOB.recipe, (64,), 0, 64), data, CPU).run()
    assert both.scores[0] == first.scores[0]
    assert len(both.scores) == 2


def test_a_checkpoint_of_another_job_or_a_broken_one_is_not_used(data, tmp_path):
    path = tmp_path / "c.pt"
    with pytest.raises(TrainingStoppedError):
        Trainer(JOB, data, CPU, path, stopping_after(3)).run()
    other = TrainingJob(TWIN, JOB.recipe, (64,), 1, 64)
    expected = Trainer(other, data, CPU).run()
    assert Trainer(other, data, CPU, path).run().scores == expected.scores
    path.write_bytes(path.read_bytes()[:1000])
    assert Trainer(other, data, CPU, path).run().scores == expected.scores


def test_accumulated_gradients_equal_those_of_the_whole_batch(data):
    """Per-part batch norm aside: with statistics frozen, two half batches give the gradient of the whole."""

    def gradient(parts):
        trainer = Trainer(JOB, data, CPU, accumulate=parts)
        running = trainer._build()
        network = running.network
        batch = data.batch(TRAIN, np.arange(16), 48, None)
        network.eval()
        network.train = lambda mode=True: network
        for part in zip(*(each.chunk(parts) for each in batch), strict=True):
            running.stepping._backward(Batch(*part), 16)
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    whole, halves = gradient(1), gradient(4)
    assert (whole - halves).norm() < 1e-5 * whole.norm()


def test_a_loss_that_is_no_number_ends_the_training_with_the_step(data):
    job = TrainingJob(TWIN, Recipe(batch=16, learning_rate=float("inf"), warmup_steps=1), (64,), 0, 64)
    with pytest.raises(DivergedError, match="at step"):
        Trainer(job, data, CPU).run()


def test_schedule_rises_stays_and_falls_to_nearly_nothing():
    recipe = Recipe(batch=10, warmup_steps=5, cooldown=0.2)
    assert recipe.trunk_steps(1000) == 80
    assert recipe.trunk_factor(0) == pytest.approx(0.2)
    assert recipe.trunk_factor(50) == 1
    factors = [recipe.cooldown_factor(step, 1000) for step in range(80, 100)]
    assert factors == sorted(factors, reverse=True)
    assert 0 < factors[-1] < 0.06


def test_every_parameter_is_in_one_group_and_only_matrices_decay():
    network = HaloNet(TWIN, 4)
    groups = parameter_groups(network, TWIN, Recipe())
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    for group in groups:
        for parameter in group["params"]:
            assert parameter.ndim > 1 or group["weight_decay"] == 0


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    first = np.concatenate([batch_ids(0, step, 8, 24) for step in range(3)])
    second = np.concatenate([batch_ids(0, step, 8, 24) for step in range(3, 6)])
    assert sorted(first) == sorted(second) == list(range(24))
    assert list(first) != list(second)
    assert len(batch_ids(0, 0, 50, 24)) == 50


class _Two:
    """Two images, labels known."""

    factors = (Factor("class", 4),)
    dense = ()
    report = DataReport("two", {})

    def size(self, split):
        return 2

    def batch(self, split, ids, image_size, augment_key):
        images = torch.zeros(len(ids), 3, image_size, image_size, dtype=torch.uint8)
        return Batch(images, torch.tensor([[0], [1]])[ids], torch.zeros(len(ids), 0))


def test_score_is_zero_for_ignorance_and_cross_entropy_is_that_of_the_formula():
    class Constant(torch.nn.Module):
        def __init__(self, row):
            super().__init__()
            self.row = torch.tensor(row)

        def forward(self, x):
            return self.row.expand(len(x), 4)

    ignorant = evaluate(Constant([0.0, 0, 0, 0]), _Two(), "test", 32, CPU, 10)
    assert ignorant.score == pytest.approx(0, abs=1e-6)
    assert ignorant.chance == {"class": 0.5}
    biased = evaluate(Constant([2.0, 0, 0, 0]), _Two(), "test", 32, CPU, 10)
    total = math.log(math.exp(2) + 3)
    assert biased.cross_entropy["class"] == pytest.approx(((total - 2) + total) / 2, rel=1e-6)
    assert biased.accuracy == {"class": 0.5}


@pytest.mark.slow
def test_a_twin_learns_a_factor_to_twice_chance(data):
    config = twin_of(parse_candidate("s=64,b=8,h=2,rb=3,l3=2,df=512"), 0.125)
    result = Trainer(
        TrainingJob(config, Recipe(batch=32, learning_rate=1e-2), (2048,), 0, 512), Scenes("scenes-easy-1", 0, 512), CPU
    ).run()
    assert result.final.accuracy["texture"] > 2 / 6


def test_a_training_that_pauses_at_every_rung_ends_like_one_that_never_did(data, tmp_path):
    job = TrainingJob(TWIN, JOB.recipe, (32, 64, 128), 0, 64)
    whole = Trainer(job, data, CPU).run()
    path = tmp_path / "c.pt"
    for upto in (1, 2, None):
        part = Trainer(job, data, CPU, path, upto=upto).run()
        assert [s.cross_entropy for s in part.scores] == [s.cross_entropy for s in whole.scores[: len(part.scores)]]
    assert len(part.scores) == 3
    assert part.curve == whole.curve
    shown = []
    Trainer(job, data, CPU, on_step=lambda done, total, loss: shown.append((done, total)), upto=1).run()
    assert shown == [(16, 32), (32, 32)]


def test_a_lost_checkpoint_costs_time_and_changes_nothing(data, tmp_path):
    Trainer(JOB, data, CPU, tmp_path / "c.pt", upto=1).run()
    (tmp_path / "c.pt").unlink()
    again = Trainer(JOB, data, CPU, tmp_path / "c.pt").run()
    assert [s.cross_entropy for s in again.scores] == [s.cross_entropy for s in Trainer(JOB, data, CPU).run().scores]


def test_zero_cost_scores_are_those_of_the_definitions(data):
    found = zero_cost_scores(TWIN, data, 0, 16, CPU)
    assert set(found) == set(ZERO_COST)
    assert all(math.isfinite(value) for value in found.values())
    assert found == zero_cost_scores(TWIN, data, 0, 16, CPU)
    assert found != zero_cost_scores(TWIN, data, 1, 16, CPU)
    torch.manual_seed(0)
    network = HaloNet(TWIN, 14)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.scale = residual_scale(sum(TWIN.stage_depths))
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    pixels, labels, _ = data.batch(TRAIN, batch_ids(0, 0, 16, data.size(TRAIN)), 48, (0, 0))
    blocks = network(to_float(pixels, CPU)).split([f.classes for f in data.factors], 1)
    loss = sum(torch.nn.functional.cross_entropy(block, labels[:, i]) for i, block in enumerate(blocks))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    whole = torch.cat([g.flatten() for g in gradients])
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert found["gradient_norm"] == pytest.approx(float(whole.norm()), rel=1e-4)
    assert found["snip"] == pytest.approx(float((whole * weights).abs().sum()), rel=1e-4)


DENSE_JOB = TrainingJob(TWIN, Recipe(batch=16, warmup_steps=2, cooldown=0.5, norm_batches=2), (64, 128), 0, 64)


@pytest.fixture(scope="module")
def described():
    return DenseScenes("scenes-easy-2", 0, 64)


@pytest.mark.slow
def test_dense_targets_are_trained_scored_and_resumed_to_the_same_bits(described, tmp_path):
    whole = Trainer(DENSE_JOB, described, CPU).run()
    assert len(whole.final.parts) == len(described.factors) + len(described.dense)
    assert whole.final.score == pytest.approx(np.mean(list(whole.final.parts.values())))
    for steps in (2, 5, 7, 9):
        path = tmp_path / f"{steps}.pt"
        with pytest.raises(TrainingStoppedError):
            Trainer(DENSE_JOB, described, CPU, path, stopping_after(steps)).run()
        assert Trainer(DENSE_JOB, described, CPU, path).run().scores == whole.scores, steps


def test_the_prequential_score_is_that_of_images_before_they_are_learned_from(described, monkeypatch):
    """Every batch's loss before its own step, of the last three quarters; a rung's own cooldown counts, another one's does not."""
    seen = []
    plain = Stepping._backward

    def watched(self, part, batch):
        found = plain(self, part, batch)
        seen.append(float(found[1]))
        return found

    monkeypatch.setattr(Stepping, "_backward", watched)
    both = Trainer(DENSE_JOB, described, CPU).run()
    trunk, first, rest = seen[:2], seen[2:4], seen[4:]  # 64 images are four steps, two of them cooldown
    assert both.scores[0].prequential == pytest.approx(1 - np.mean([*trunk, *first][1:]))
    assert both.scores[1].prequential == pytest.approx(1 - np.mean([*trunk, *rest][2:]))
    few = DenseScenes("scenes-easy-2", 0, 64)
    few._sizes[TRAIN] = 100
    assert Trainer(DENSE_JOB, few, CPU).run().final.prequential is None  # images were seen twice


def test_labels_only_have_no_parts_and_no_prequential_score(data):
    found = Trainer(JOB, data, CPU).run().final.to_dict()
    assert not {"parts", "prequential"} & set(found)
