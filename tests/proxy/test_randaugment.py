"""RandAugment behind a dataset: a function of key and picture alone, never of a scored picture, never of scenes."""

import numpy as np
import pytest
import torch

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import TEST, TRAIN, DataReport
from halosearch.proxy.data.dense_scenes import DenseScenes
from halosearch.proxy.data.device_arrays import DeviceImages
from halosearch.proxy.data.picture_targets import picture_targets
from halosearch.proxy.data.randaugment import augmented

KEY = (3, 7)


def images(*, dense=False):
    rng = np.random.default_rng(0)
    small = {split: rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8) for split in (TRAIN, TEST)}
    pixels = {split: each.repeat(4, 1).repeat(4, 2) for split, each in small.items()}
    return ArrayImages(pixels, {split: np.arange(12) % 3 for split in pixels}, 3, DataReport("", {}), dense=dense)


KINDS = [lambda data: data, lambda data: DeviceImages(data, "cpu")]


@pytest.mark.parametrize("kind", KINDS, ids=["memory", "device"])
def test_a_picture_is_augmented_by_its_key_and_id_alone(kind):
    plain = kind(images(dense=True))
    data = augmented(plain, 10)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    together = data.batch(TRAIN, np.arange(12), 24, KEY)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    alone = data.batch(TRAIN, np.array([11, 4]), 24, KEY)
    assert torch.equal(alone.images, together.images[[11, 4]])
    other = data.batch(TRAIN, np.arange(12), 24, (3, 8))
    cropped = plain.batch(TRAIN, np.arange(12), 24, KEY)
    assert not torch.equal(other.images, together.images)
    moved = (cropped.images != together.images).flatten(1).any(1)
    assert moved.sum() >= 8  # an operation may be the identity
    raw = picture_targets(together.images)
    assert torch.allclose(together.dense, (raw - plain._mean) / plain._deviation), "of what comes out"
    assert together.images.dtype == torch.uint8


@pytest.mark.parametrize("kind", KINDS, ids=["memory", "device"])
def test_scored_pictures_are_left_alone(kind):
    plain = kind(images())
    ids = np.arange(12)
    assert torch.equal(augmented(plain, 31).batch(TEST, ids, 24, None).images, plain.batch(TEST, ids, 24, None).images)
    assert augmented(plain, 0) is plain


def test_magnitude_is_how_far_a_picture_is_moved():
    plain, ids = images(), np.arange(12)
    cropped = plain.batch(TRAIN, ids, 24, KEY).images.float()
    apart = [
        (augmented(plain, magnitude).batch(TRAIN, ids, 24, KEY).images.float() - cropped).abs().mean().item()
        for magnitude in (1, 31)
    ]
    assert apart[0] < apart[1]


def test_scenes_are_refused():
    with pytest.raises(EnvironmentFault, match="moves pictures away from what scenes say"):
        augmented(DenseScenes("scenes-easy-2", 0, 32), 5)
