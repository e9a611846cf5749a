"""Pictures resized by two products against Pillow's own resizing, and the dataset on a device against that on a CPU."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from halosearch.proxy.data import kept_pictures
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import Batch, DataReport
from halosearch.proxy.data.device_arrays import DeviceImages, resized
from halosearch.proxy.data.kept_pictures import KeptPictures

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pictures(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


share = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@example(40, 38, 0.0, 0.0, 1.0, 1.0, 0)  # halves, which the two round apart
@given(st.integers(2, 40), st.integers(1, 60), share, share, st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 9))
def test_a_box_is_resized_as_pillow_does_within_two_levels(side, size, x, y, width, height, seed):
    left, top = x * (1 - width), y * (1 - height)
    box = (left, top, left + width, top + height)
    stored = pictures(1, side, seed)
    ours = resized(torch.from_numpy(stored).permute(0, 3, 1, 2), torch.tensor([box], dtype=torch.float64), size)
    edges = tuple(min(float(side), side * edge) for edge in box)
    theirs = np.asarray(Image.fromarray(stored[0]).resize((size, size), Image.Resampling.BILINEAR, box=edges))
    apart = np.abs(ours[0].permute(1, 2, 0).numpy().astype(int) - theirs.astype(int))
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.12 or apart.size < 200


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dense", [True, False])
def test_batches_are_those_of_a_cpu(dense, device):
    images = {split: pictures(count, 24, count) for split, count in (("train", 40), ("test", 12), ("held-out", 9))}
    labels = {split: np.arange(len(each), dtype=np.int64) % 3 for split, each in images.items()}
    here = ArrayImages(images, labels, 3, DataReport("", {}), dense=dense)
    there = DeviceImages(here, device)
    for split, ids, size, key in (
        ("train", np.array([3, 39, 3]), 32, (0, 7)),
        ("train", np.array([3, 39]), 16, (1, 2)),
        ("test", np.arange(12), 20, None),
        ("held-out", np.array([8, 0]), 20, None),
    ):
        on_device = there.batch(split, ids, size, key)
        assert {each.device.type for each in on_device} == {device}
        ours, theirs = Batch(*(each.cpu() for each in on_device)), here.batch(split, ids, size, key)
        assert (ours.images.int() - theirs.images.int()).abs().max() <= 1
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.allclose(ours.dense, theirs.dense, atol=0.05)
    del there._bytes["train"]  # as where they do not fit
    assert torch.equal(
        there.batch("train", np.array([3, 39]), 16, (1, 2)).images,
        DeviceImages(here, device).batch("train", np.array([3, 39]), 16, (1, 2)).images,
    )


def test_splits_are_made_once_and_sizes_forgotten_where_there_is_no_room(monkeypatch):
    made = []

    def make(size):
        def all_of(ids):
            made.append(size)
            return torch.zeros(len(ids), 3, size, size, dtype=torch.uint8)

        return all_of

    kept = KeptPictures()
    monkeypatch.setattr(kept_pictures, "KEPT_BYTES", 3 * 10 * (16**2 + 8**2))
    for size in (16, 8, 16, 8):
        assert kept.get("test", size, 10, make(size)).shape == (10, 3, size, size)
    assert made == [16, 8]
    assert kept.get("test", 12, 10, make(12)) is not None  # the first goes
    kept.get("test", 16, 10, make(16))
    assert made == [16, 8, 12, 16]
    assert kept.get("test", 32, 10, make(32)) is None
