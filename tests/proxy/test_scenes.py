import numpy as np
import pytest
import torch

from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.scenes import (
    DIFFICULTIES,
    FACTORS,
    FREQUENCIES,
    Scenes,
    draw_parameters,
    golden_hash,
    labels,
    render,
    to_uint8,
)

GOLDEN = {"scenes-easy-1": "a9ad5741f159", "scenes-1": "4999e8c872fd"}


@pytest.mark.parametrize("version", GOLDEN)
def test_a_frozen_version_renders_the_frozen_images(version):
    assert golden_hash(version) == GOLDEN[version]


def test_a_scene_depends_on_seed_split_and_id_only():
    one, other = Scenes("scenes-1", 3, 64), Scenes("scenes-1", 3, 64)
    together = one.batch(TRAIN, np.arange(70), 48, None).images
    alone = other.batch(TRAIN, np.array([69, 2]), 48, (1, 2)).images
    assert torch.equal(alone[0], together[69])
    assert torch.equal(alone[1], together[2])
    for different in (
        Scenes("scenes-1", 4, 64).batch(TRAIN, np.array([2]), 48, None),
        one.batch(TEST, np.array([2]), 48, None),
    ):
        assert not torch.equal(different[0][0], together[2])


def test_the_three_splits_share_no_scene():
    draws = [draw_parameters(0, split, np.arange(200)) for split in (TRAIN, TEST, HELD_OUT)]
    assert len(np.unique(np.concatenate(draws), axis=0)) == 600


def test_labels_do_not_depend_on_the_image_size_and_are_balanced():
    data = Scenes("scenes-easy-1", 0, 32)
    assert torch.equal(data.batch(TEST, np.arange(32), 48, None)[1], data.batch(TEST, np.arange(32), 64, None)[1])
    many = labels(draw_parameters(0, TRAIN, np.arange(3000)))
    for i, factor in enumerate(FACTORS):
        shares = np.bincount(many[:, i], minlength=factor.classes) / 3000
        assert np.abs(shares - 1 / factor.classes).max() < 0.03


def test_a_large_image_averaged_down_is_the_small_one():
    draws = draw_parameters(0, TRAIN, np.arange(16))
    draws[:, 1] = 0.01  # the coarsest texture: what fine ones lose at a small size is the point of them
    large, small = (render(draws, size, DIFFICULTIES["scenes-easy-1"]) for size in (192, 48))
    assert (torch.nn.functional.avg_pool2d(large, 4) - small).abs().mean() < 0.01


def test_the_finest_texture_fades_at_small_sizes_and_not_at_large_ones():
    """Contrast inside the object between two phases of the stripes is what is left of the texture."""
    draws = draw_parameters(0, TRAIN, np.arange(16))
    draws[:, 1] = 0.99
    shifted = draws.copy()
    shifted[:, 33] = (draws[:, 33] + 0.5) % 1
    contrast = {
        size: (render(draws, size, DIFFICULTIES["scenes-1"]) - render(shifted, size, DIFFICULTIES["scenes-1"]))
        .abs()
        .mean()
        .item()
        for size in (48, 192)
    }
    assert contrast[48] < 0.6 * contrast[192]
    assert max(FREQUENCIES) < 24


def test_noise_grows_with_the_image_size():
    data = Scenes("scenes-1", 0, 32)
    deviation = {}
    for size in (48, 96):
        clean = to_uint8(render(draw_parameters(0, TRAIN, np.arange(8)), size, data.difficulty)).float()
        deviation[size] = (data.batch(TRAIN, np.arange(8), size, None)[0].float() - clean).std().item()
    assert 1.6 < deviation[96] / deviation[48] < 2.2
