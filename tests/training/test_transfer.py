"""Weights moved to other windows, classes and image sizes; backbones; blocks that are left out; packed names; the paper's recipe."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halosearch.errors import UsageError
from halosearch.families.backbone import Backbone
from halosearch.families.building_blocks import ResidualBlock
from halosearch.families.known import build, parse_candidate
from halosearch.proxy.data.names import PackedNames
from halosearch.training.loading import EpochKeys, Place, ScoreKeys, random_box
from halosearch.training.optimizer import Averaged, make_optimizer
from halosearch.training.recipe import ModelRecipe, recipe_of
from halosearch.training.transfer import ZERO, begin_from, read_weights, stretched
from tests.cli.process import here
from tests.training.pictures import fill

SMALL = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1"


def network(text=SMALL, classes=3, seed=0):
    torch.manual_seed(seed)
    return build(parse_candidate(text), classes)


def test_a_larger_window_takes_everything_over_but_its_embeddings_which_are_stretched():
    one, other = network(), network("s=48,b=6,h=2,rv=1,rb=0.5,depths=1-1-1-1", seed=1)
    moved = begin_from(other, one.state_dict())
    assert not moved.new
    assert len(moved.interpolated) == 8  # two tables in each of four layers
    mine, theirs = other.state_dict(), one.state_dict()
    for name in moved.same:
        assert torch.equal(mine[name], theirs[name])
    for name in moved.interpolated:
        assert len(theirs[name]) == 11
        assert len(mine[name]) == 19
        x = np.linspace(0, 10, 19)
        wanted = np.stack([np.interp(x, np.arange(11), column) for column in theirs[name].numpy().T], 1)
        assert mine[name].numpy() == pytest.approx(wanted, abs=1e-6)
    begin_from(other, one.state_dict(), embeddings=ZERO)
    assert all(not other.state_dict()[name].any() for name in moved.interpolated)


def test_the_same_window_at_another_image_size_computes_the_same():
    one, other = network(), network(SMALL.replace("s=32", "s=64"), seed=1)
    assert not begin_from(other, one.state_dict()).interpolated
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(one.eval()(images), other.eval()(images))


def test_other_classes_begin_anew_and_anything_else_is_refused_by_name():
    one, other = network(), network(classes=7, seed=1)
    before = other.head.weight.clone()
    assert begin_from(other, one.state_dict()).new == ("head.weight", "head.bias")
    assert torch.equal(other.head.weight, before)
    with pytest.raises(UsageError, match=r"stages\.0\.0\.expand"):
        begin_from(network("s=32,b=4,h=1,rv=1,rb=1,depths=1-1-1-1"), one.state_dict())


@given(st.integers(2, 40), st.integers(2, 60))
def test_stretching_keeps_ends_lines_and_lengths(rows, length):
    line = torch.linspace(-1, 2, rows)[:, None] * torch.tensor([[1.0, -3.0]])
    found = stretched(line, length)
    assert found.shape == (length, 2)
    assert torch.allclose(found, torch.linspace(-1, 2, length)[:, None] * torch.tensor([[1.0, -3.0]]), atol=1e-5)


def test_weights_of_a_deeper_network_are_refused_by_name():
    deeper = network(SMALL.replace("depths=1-1-1-1", "depths=1-1-2-1"))
    with pytest.raises(UsageError, match=r"tensors that the network has not, the first: stages\.2\.1"):
        begin_from(network(), deeper.state_dict())


def test_weights_are_read_from_files_and_folders(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    weights = {name: each.contiguous() for name, each in network().state_dict().items()}
    torch.save(weights, tmp_path / "weights.pt")
    safetensors.save_file(weights, tmp_path / "w.safetensors")
    for path in (tmp_path, tmp_path / "weights.pt", tmp_path / "w.safetensors"):
        found = read_weights(path)
        assert all(torch.equal(found[name], each) for name, each in weights.items())


@pytest.mark.parametrize(
    "text", [SMALL, "efficientnet:w=0.5,d=0.5,s=64", "resnet-50:s=64", "s=64,b=5,h=1,rv=1,rb=0.5,l3=1,conv=2"]
)
def test_a_backbone_gives_the_maps_that_it_announces_whatever_the_image_s_size(text):
    trunk = network(text)
    backbone = Backbone(trunk)
    assert [info["reduction"] for info in backbone.feature_info] == [4, 8, 16, 32]
    for height, width in ((64, 64), (96, 160), (65, 47)):
        with torch.no_grad():
            maps = backbone.eval()(torch.randn(1, 3, height, width))
        assert list(maps) == ["0", "1", "2", "3"]
        for each, info in zip(maps.values(), backbone.feature_info, strict=True):
            stride = info["reduction"]
            assert tuple(each.shape[1:]) == (info["num_chs"], math.ceil(height / stride), math.ceil(width / stride))
    some = Backbone(trunk, (32, 8))
    assert [info["reduction"] for info in some.feature_info] == [8, 32]
    assert some.out_channels == [backbone.out_channels[1], backbone.out_channels[3]]
    with pytest.raises(UsageError, match="no map at stride 64"):
        Backbone(trunk, (64,))


def test_a_backbone_s_last_map_is_what_the_classifier_reads():
    trunk = network().eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        last = list(Backbone(trunk).eval()(images).values())[-1]
        assert torch.equal(trunk.classify(trunk.final(last)), trunk.eval()(images))


def test_a_backbone_leaves_the_network_s_mode_and_statistics_as_they_were():
    trunk = network().eval()
    before = {name: each.clone() for name, each in trunk.state_dict().items()}
    Backbone(trunk)
    assert not any(module.training for module in trunk.modules())
    assert all(torch.equal(before[name], each) for name, each in trunk.state_dict().items())


@pytest.mark.parametrize("text", [SMALL, "efficientnet:w=0.5,d=0.5,s=32", "resnet-50:s=32,se=yes", "resnet-50:s=32"])
def test_blocks_are_left_out_in_training_only_and_the_mean_stays(text):
    trunk = network(text)
    block = next(module for module in trunk.modules() if isinstance(module, ResidualBlock))
    branch = torch.ones(4000, 2, 1, 1)
    block.drop, block.scale = 0.3, 2.0
    torch.manual_seed(0)
    found = block.train().weighed(branch)
    assert found.unique().tolist() == pytest.approx([0.0, 2.0 / 0.7])
    assert float(found.mean()) == pytest.approx(2.0, rel=0.05)
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(block.eval().weighed(branch), 2 * branch)
    for module in trunk.modules():
        if isinstance(module, ResidualBlock):
            module.drop = 1 - 1e-9
    shallow = network(text)
    shallow.load_state_dict(trunk.state_dict())
    for module in shallow.modules():
        if isinstance(module, ResidualBlock):
            module.scale = 0.0
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(trunk.train()(images), shallow.train()(images), atol=1e-5), "only shortcuts are left"


def test_an_epoch_shows_every_picture_at_most_once_in_equal_parts():
    place = Place(size=50, batch=8, seed=3, parts=2)
    order = place.order(0)
    shown = [index for step in range(place.steps) for part in range(2) for index, _ in place.part(order, step, part)]
    assert len(shown) == len(set(shown)) == 48
    assert not np.array_equal(order, place.order(1))
    small = Place(size=3, batch=8, seed=3, parts=2)
    assert small.steps == 1
    assert len(small.part(small.order(0), 0, 1)) == 4


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.05, 1.0), st.integers(0, 10_000))
def test_boxes_lie_within_the_picture(width, height, least, seed):
    (left, top, right, bottom), _ = random_box(np.random.default_rng(seed), (width, height), least)
    assert 0 <= left < right <= width + 1e-6
    assert 0 <= top < bottom <= height + 1e-6


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), max_size=30))
def test_packed_names_are_the_names(names):
    packed = PackedNames(names)
    assert [packed[n] for n in range(len(packed))] == names


def test_the_paper_s_recipe_is_the_paper_s():
    recipe = recipe_of("paper", parse_candidate("h4"), {})
    assert (recipe.learning_rate, recipe.batch, recipe.epochs, recipe.randaugment) == (1.6, 4096, 350, 17)
    steps = 313
    assert recipe.factor(10 * steps, steps) == pytest.approx(1.0)
    assert recipe.factor(0, steps) == pytest.approx(1 / 3130)
    assert recipe.factor(350 * steps, steps) == pytest.approx(1 / 128)
    assert recipe_of("paper", parse_candidate("h0"), {"batch": 512}).learning_rate == pytest.approx(0.2)
    assert recipe_of("short", parse_candidate("h0"), {"learning_rate": 0.5}).learning_rate == 0.5


def test_rates_fall_by_stage_frozen_parts_stay_and_vectors_do_not_decay():
    trunk = network()
    optimizer, rates = make_optimizer(trunk, ModelRecipe(layer_decay=0.5, frozen=1, learning_rate=1.0))
    trained = {
        id(each): (group["weight_decay"], rate)
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
        for each in group["params"]
    }
    named = dict(trunk.named_parameters())
    assert not any(
        id(each) in trained or each.requires_grad
        for name, each in named.items()
        if name.startswith(("stem.", "stages.0."))
    )
    assert trained[id(named["head.weight"])] == (0.05, 1.0)
    assert trained[id(named["head.bias"])][0] == 0.0
    assert trained[id(named["stages.3.0.reduce.0.weight"])][1] == 0.5
    assert trained[id(named["stages.1.0.reduce.0.weight"])][1] == 0.125
    assert trained[id(named["stages.1.0.spatial.0.rel_height"])] == (0.0, 0.125)


def test_averaged_weights_forget_the_beginning():
    trunk = torch.nn.Linear(1, 1, bias=False)
    kept = Averaged(trunk, 0.9)
    for value in range(200):
        torch.nn.init.constant_(trunk.weight, float(value))
        kept.follow(trunk, value)
    assert kept.module.weight.item() == pytest.approx(199 - 9, abs=0.5)  # the mean age of a decay of 0.9


def test_averaged_weights_are_those_of_torch_s_own_average():
    def average(old, new, count):
        return (
            old.lerp(new, 1 - min(0.97, (1 + float(count)) / (10 + float(count)))) if old.is_floating_point() else new
        )

    trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    mine, theirs = Averaged(trunk, 0.97), torch.optim.swa_utils.AveragedModel(trunk, avg_fn=average, use_buffers=True)
    for step in range(12):
        trunk(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            trunk[0].weight.add_(torch.randn_like(trunk[0].weight))
        mine.follow(trunk, step)
        theirs.update_parameters(trunk)
    for name, each in theirs.module.state_dict().items():
        assert torch.equal(mine.module.state_dict()[name], each)


@given(st.integers(1, 60), st.integers(2, 90))
def test_no_picture_is_twice_the_same_in_a_step_that_is_larger_than_all(size, batch):
    place = Place(size=size, batch=batch, seed=0, parts=1)
    for keys in EpochKeys(place, 0, 0, (0,)):
        assert len(set(keys)) == len(keys) == batch
        assert {again for _, _, again in keys} == set(range(-(-batch // size)) if batch > size else (0,))


def test_weights_of_other_classes_of_the_same_number_begin_the_classifier_anew(tmp_path, monkeypatch):
    fill(tmp_path / "pictures")
    folder = tmp_path / "models" / "first"
    folder.mkdir(parents=True)
    torch.save(network().state_dict(), folder / "weights.pt")
    words = ["train-model", SMALL, "--data", tmp_path / "pictures", "--epochs", 1, "--batch", 8, "--device", "cpu"]
    for names, said in (
        (["blue", "green", "red"], "115 tensors taken over"),
        (["cat", "dog", "eel"], "2 begun anew (head.weight, head.bias)"),
    ):
        (folder / "model.json").write_text(json.dumps({"classes": names}))
        done = here(*words, "--init", folder, "--name", names[0], cwd=tmp_path, monkeypatch=monkeypatch)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr


@given(st.integers(0, 300), st.integers(1, 5), st.integers(1, 40))
def test_every_picture_is_scored_by_exactly_one_process(size, world, batch):
    shares = [list(ScoreKeys(size, rank, world, batch)) for rank in range(world)]
    assert sorted(index for share in shares for keys in share for index in keys) == list(range(size))
    assert [len(share) for share in shares] == [len(ScoreKeys(size, rank, world, batch)) for rank in range(world)]


def test_keys_from_the_middle_of_an_epoch_are_those_of_the_whole():
    place = Place(size=50, batch=8, seed=3, parts=2)
    whole = list(EpochKeys(place, 1, 0, (0, 1)))
    assert len(whole) == len(EpochKeys(place, 1, 0, (0, 1))) == 12
    assert list(EpochKeys(place, 1, 4, (0, 1))) == whole[8:]
    assert list(EpochKeys(place, 1, 0, (1,))) == whole[1::2]
