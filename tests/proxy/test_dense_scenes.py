from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.dense_scenes import DIFFICULTIES, DRAWS, FACTORS, DenseScenes, golden_hash, raw_targets
from halosearch.proxy.data.device_scenes import DeviceScenes
from halosearch.proxy.data.philox import uniform
from halosearch.proxy.data.scene_drawing import Scenes, draw, scenes_of

GOLDEN = {"scenes-easy-2": "7dfa2387a4a2", "scenes-2": "a7b2a1b022c3"}
EASY = DIFFICULTIES["scenes-easy-2"]
SIZES = (48, 64)


@pytest.fixture(scope="module")
def data():
    return DenseScenes("scenes-easy-2", 3, 64)


def scenes(count=64):
    return scenes_of(uniform((0, 0), torch.arange(count), DRAWS))


@pytest.mark.parametrize("version", GOLDEN)
def test_a_frozen_version_draws_the_frozen_pictures(version):
    assert golden_hash(version) == GOLDEN[version]


def test_every_second_version_is_here():
    assert set(GOLDEN) == {name for name, difficulty in DIFFICULTIES.items() if difficulty.drawing == 2}


def test_a_scene_depends_on_seed_split_and_id_only(data):
    together = data.batch(TRAIN, np.arange(70), 48, None)
    alone = DenseScenes("scenes-easy-2", 3, 32).batch(TRAIN, np.array([69, 2]), 48, (1, 2))
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[[69, 2]], part)
    for different in (
        DenseScenes("scenes-easy-2", 4, 64).batch(TRAIN, np.array([2]), 48, None),
        data.batch(TEST, np.array([2]), 48, None),
    ):
        assert not torch.equal(different.images[0], together.images[2])


def test_splits_share_no_scene(data):
    pictures = [data.batch(split, np.arange(50), 48, None).images for split in (TRAIN, TEST, HELD_OUT)]
    assert len(torch.cat(pictures).flatten(1).unique(dim=0)) == 150


def test_labels_and_targets_are_the_same_at_every_size_and_targets_are_standardised(data):
    small, large = (data.batch(TRAIN, np.arange(1000), size, None) for size in SIZES)
    assert torch.equal(small.labels, large.labels)
    assert torch.equal(small.dense, large.dense)
    assert small.dense.shape == (1000, sum(group.width for group in data.dense))
    assert small.dense.mean(0).abs().max() < 0.15
    assert (small.dense.std(0) - 1).abs().max() < 0.2
    for i, factor in enumerate(FACTORS):
        shares = small.labels[:, i].bincount(minlength=factor.classes) / 1000
        assert (shares - 1 / factor.classes).abs().max() < 0.05


def test_what_a_scene_is_made_of_does_not_move_what_it_is_not_part_of():
    """Each target answers to its own part of the scene, and the small picture to what is seen."""
    one, other = scenes(), scenes_of(uniform((9, 9), torch.arange(64), DRAWS))
    groups = {
        "ink_NC": {"object colour", "small picture"},
        "companion_NC": {"companion colour", "small picture"},
        "far_N2": {"companion place", "companion mask", "small picture"},
        "radius_N": {"object size", "object mask", "small picture"},
        "turns_N2": {"contour", "object mask", "small picture"},
        "direction_N": {"stripe direction", "small picture"},
        "phase_N": {"small picture"},
    }
    before = raw_targets(one, EASY)
    for name, moved in groups.items():
        after = raw_targets(replace(one, **{name: getattr(other, name)}), EASY)
        assert {group for group in before if not torch.equal(before[group], after[group])} == moved
    assert set(groups) < {field.name for field in fields(Scenes)}


def test_the_small_picture_is_the_picture_averaged():
    seen = F.avg_pool2d(draw(scenes(), 128, EASY), 32).flatten(1)
    assert (seen - raw_targets(scenes(), EASY)["small picture"]).abs().mean() < 0.01


def test_noise_grows_with_the_image_size_and_is_not_shared(data):
    deviation = {}
    for size in SIZES:
        clean = (draw(data._scenes(TRAIN, list(range(8))), size, EASY).clamp(0, 1) * 255).round()
        noise = data.batch(TRAIN, np.arange(8), size, None).images.float() - clean
        deviation[size] = noise.std().item()
        kinds = noise.flatten(0, 1).flatten(1)
        alike = torch.corrcoef(kinds) - torch.eye(len(kinds))
        assert alike.abs().max() < 0.2
    assert 1.2 < deviation[64] / deviation[48] < 1.5
    assert abs(deviation[64] / 255 - EASY.noise) < 0.002


@pytest.mark.slow
def test_scenes_made_for_a_gpu_are_those_made_for_a_cpu():
    """On one device bit by bit, in any split, order and chunk; what a GPU draws otherwise is measured by benchmarks.gpu."""
    here, there = DenseScenes("scenes-easy-2", 3, 24), DeviceScenes("scenes-easy-2", 3, 24, "cpu")
    for split, ids in (("train", [5, 70, 5, 0]), ("test", [23, 2]), ("held-out", [95, 0, 7])):
        for size in (48, 64):
            ours, theirs = (each.batch(split, np.array(ids), size, (0, 1)) for each in (here, there))
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)
            assert torch.allclose(ours.dense, theirs.dense, atol=1e-6)
    assert here.report == there.report
