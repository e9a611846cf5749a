import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data import decoding
from halosearch.proxy.data.arrays import CROP_AREA, random_crop
from halosearch.proxy.data.cifar import open_cifar
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.decoding import read_image
from halosearch.proxy.data.folder import DecodingStoppedError, FolderLimits, open_folder
from halosearch.proxy.data.sources import DataRequest, open_data, upsampled_sizes
from tests.proxy.pictures import CLASSES, make_cifar, make_tree

LIMITS = FolderLimits(1000, 1000, 64)


def test_every_file_of_a_folder_is_used_or_named(tmp_path):
    root = make_tree(tmp_path / "photos")
    data = open_folder(root, tmp_path / "cache", LIMITS)
    report = data.report
    assert [path for path, _ in report.unreadable] == ["beach/broken.jpg"]
    assert [path for path, _ in report.skipped] == ["forest/notes.txt"]
    files = sum(path.is_file() for path in root.rglob("*"))
    assert sum(report.images.values()) + len(report.unreadable) + len(report.skipped) + report.unused == files == 63
    assert data.factors[0].classes == len(CLASSES)
    assert str(tmp_path) not in repr(report)


def test_splits_do_not_overlap_and_hold_every_class(tmp_path):
    data = open_folder(make_tree(tmp_path / "photos"), tmp_path / "cache", LIMITS)
    seen = set()
    for split in (TRAIN, TEST, HELD_OUT):
        images, labels, _ = data.batch(split, np.arange(data.size(split)), 64, None)
        assert set(labels[:, 0].tolist()) == {0, 1, 2}
        prints = {image.numpy().tobytes() for image in images}
        assert not prints & seen
        seen |= prints


def test_the_cache_is_decoded_once_and_anew_when_a_file_changes(tmp_path):
    root = make_tree(tmp_path / "photos")
    first = open_folder(root, tmp_path / "cache", LIMITS)
    again = open_folder(root, tmp_path / "cache", LIMITS)
    assert first.report == again.report
    assert len(list((tmp_path / "cache").iterdir())) == 1
    Image.new("RGB", (50, 50), "red").save(root / "beach" / "p0.png")
    open_folder(root, tmp_path / "cache", LIMITS)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_train_and_val_folders_are_the_splits(tmp_path):
    make_tree(tmp_path / "d" / "train", 6)
    make_tree(tmp_path / "d" / "val", 4)
    report = open_folder(tmp_path / "d", tmp_path / "cache", LIMITS).report
    assert report.images[TRAIN] == 19
    assert report.images[TEST] + report.images[HELD_OUT] == 13


def test_limits_keep_classes_balanced_and_count_what_is_left(tmp_path):
    data = open_folder(make_tree(tmp_path / "photos"), tmp_path / "cache", FolderLimits(9, 3, 32))
    _, labels, _ = data.batch(TRAIN, np.arange(data.size(TRAIN)), 32, None)
    assert sorted(np.bincount(labels[:, 0].numpy()).tolist()) in ([2, 3, 3], [3, 3, 3])
    assert data.report.unused == 62 - 15


@pytest.mark.parametrize("kind", ["missing", "flat", "one class", "all broken", "empty classes"])
def test_folders_that_cannot_be_trained_on_are_refused_with_a_way_out(tmp_path, kind):
    root = tmp_path / "d"
    if kind != "missing":
        root.mkdir()
    if kind == "flat":
        Image.new("RGB", (40, 40)).save(root / "a.png")
    if kind == "one class":
        (root / "a").mkdir()
    if kind in ("all broken", "empty classes"):
        for name in "ab":
            (root / name).mkdir()
            for i in range(5 if kind == "all broken" else 0):
                (root / name / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(EnvironmentFault) as caught:
        open_data(DataRequest(str(root), 0, 100, 100, 64, tmp_path / "cache"))
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_a_half_empty_folder_names_the_class_without_images(tmp_path):
    root = make_tree(tmp_path / "photos")
    (root / "void").mkdir()
    assert open_folder(root, tmp_path / "cache", LIMITS).report.empty_classes == ("void",)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_binaries_are_read_as_published(tmp_path, classes):
    root = make_cifar(tmp_path / "cifar", classes)
    data = open_data(DataRequest(str(root), 0, 10_000, 10_000, 64, tmp_path / "cache"))
    assert data.size(TRAIN) == (200 if classes == 10 else 40)
    assert data.size(TEST) + data.size(HELD_OUT) == 40
    images, labels, _ = data.batch(TRAIN, np.arange(8), 32, None)
    raw = np.fromfile(root / ("data_batch_1.bin" if classes == 10 else "train.bin"), np.uint8).reshape(40, -1)
    assert labels[:, 0].tolist() == raw[:8, -3073].tolist()
    assert (images.numpy().reshape(8, -1) == raw[:8, -3072:]).all()
    assert upsampled_sizes(data, (32, 48, 64)) == [64]


def test_pickled_cifar_is_read_and_pickled_code_is_not_run(tmp_path):
    root = tmp_path / "c"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (root / name).write_bytes(
            pickle.dumps(
                {b"data": rng.integers(0, 255, (20, 3072), dtype=np.uint8), b"labels": [i % 10 for i in range(20)]}
            )
        )
    assert open_cifar(root, 1000, 1000).size(TRAIN) == 100

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (root / "data_batch_2").write_bytes(pickle.dumps(Evil()))
    report = open_cifar(root, 1000, 1000).report
    assert [name for name, _ in report.unreadable] == ["data_batch_2"]
    assert not (tmp_path / "pwned").exists()


def test_a_cut_cifar_file_is_named_and_the_rest_is_used(tmp_path):
    root = make_cifar(tmp_path / "cifar")
    file = root / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-5])
    report = open_cifar(root, 1000, 1000).report
    assert [name for name, _ in report.unreadable] == ["data_batch_3.bin"]
    assert report.images[TRAIN] == 160
    (root / "test_batch.bin").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match=r"test_batch\.bin"):
        open_cifar(root, 1000, 1000)


def test_crops_stay_inside_and_cover_their_range():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(500):
        (left, top, right, bottom), _ = random_crop(rng)
        assert 0 <= left < right <= 1 + 1e-9
        assert 0 <= top < bottom <= 1 + 1e-9
        areas.append((right - left) * (bottom - top))
    assert CROP_AREA[0] * 0.85 < min(areas) < 0.45
    assert max(areas) > 0.9


def test_the_same_key_gives_the_same_crops_and_another_key_others(tmp_path):
    data = open_folder(make_tree(tmp_path / "photos"), tmp_path / "cache", LIMITS)
    a, b, c = (data.batch(TRAIN, np.arange(6), 48, key)[0] for key in ((0, 1), (0, 1), (0, 2)))
    assert (a == b).all()
    assert not (a == c).all()


def test_test_beside_val_is_held_out_and_a_stray_file_is_named(tmp_path):
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        make_tree(tmp_path / "d" / split, count)
    Image.new("RGB", (40, 40)).save(tmp_path / "d" / "stray.jpg")
    report = open_folder(tmp_path / "d", tmp_path / "cache", LIMITS).report
    assert (report.images[TRAIN], report.images[TEST], report.images[HELD_OUT]) == (19, 13, 13)
    assert ("stray.jpg", "not inside a class folder") in report.skipped
    files = sum(path.is_file() for path in (tmp_path / "d").rglob("*"))
    assert sum(report.images.values()) + len(report.unreadable) + len(report.skipped) == files


def test_links_odd_names_and_hidden_folders(tmp_path):
    root = make_tree(tmp_path / "real")
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in root.iterdir():
        (linked / folder.name).symlink_to(folder)
    (root / "beach" / ".cache").mkdir()
    Image.new("RGB", (40, 40)).save(root / "beach" / ".cache" / "x.png")
    Image.new("RGB", (40, 40)).save(os.fsdecode(os.fsencode(root / "beach") + b"/caf\xe9.png"))
    (root / "beach" / "loop").symlink_to(root / "beach")
    report = open_folder(linked, tmp_path / "cache", LIMITS).report
    assert sum(report.images.values()) == 62  # 61 that can be read and the one with the odd name
    assert ("beach/.cache/x.png", "hidden") in report.skipped
    assert json.dumps(report.to_dict()).encode()


def test_sixteen_bit_grey_is_not_white(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = read_image(tmp_path / "deep.png", 64)
    assert abs(int(found.pixels.mean()) - 127) < 3
    assert found.top == 65535


@pytest.mark.parametrize(("most", "bits"), [(4095, 12), (1000, 10), (200, 8), (65535, 16)])
def test_sixteen_bit_files_of_fewer_bits_are_read_in_the_range_that_the_folder_uses(tmp_path, most, bits):
    root = tmp_path / "d"
    for name, share in (("dim", 0.5), ("light", 1.0)):
        (root / name).mkdir(parents=True)
        for index in range(12):
            values = np.linspace(0, share * most, 32 * 32).reshape(32, 32).astype(np.uint16)
            Image.fromarray(values).save(root / name / f"{index}.png")
    Image.new("L", (32, 32), 77).save(root / "dim" / "eight.png")
    images = open_folder(root, tmp_path / "cache", LIMITS)
    white = 255 * most / (2**bits - 1)
    tops = {
        int(each.max()) for split in (TRAIN, TEST, HELD_OUT) for each in images._images[split][: images.size(split)]
    }
    assert tops <= {77, int(white), int(white / 2), int(white / 2) - 1}
    assert int(white) in tops
    said = f"(24 stored in 16 bits, none above {most:,}: {2**bits - 1:,} is read as white)"
    assert said in images.report.description
    again = open_folder(root, tmp_path / "other", LIMITS)
    assert again.report.fingerprint == images.report.fingerprint


def dim_scans(root):
    for name in ("left", "right"):
        (root / name).mkdir(parents=True)
        for index in range(40):
            values = np.full((20, 20), 4000, np.uint16)
            Image.fromarray(values).save(root / name / f"{index}.png")


def test_one_picture_that_darkens_all_others_is_named(tmp_path):
    dim_scans(tmp_path / "d")
    Image.fromarray(np.full((20, 20), 65535, np.uint16)).save(tmp_path / "d" / "left" / "hot.png")
    report = open_folder(tmp_path / "d", tmp_path / "cache", LIMITS).report
    assert "none above 65,535: 65,535 is read as white; all but left/hot.png would need 12 bits" in report.description


def test_the_second_reading_is_watched_and_a_file_that_fails_then_is_a_sentence(tmp_path, monkeypatch):
    dim_scans(tmp_path / "d")
    told = []
    open_folder(tmp_path / "d", tmp_path / "cache", LIMITS, watch=lambda *at: told.append(at) or True)
    assert told == [(64, 80), (144, 160)]
    with pytest.raises(DecodingStoppedError):
        open_folder(tmp_path / "d", tmp_path / "other", LIMITS, watch=lambda done, _: done < 100)
    plain = decoding.read_image

    def gone(path, side, bits):
        if bits < 16 and path.name == "7.png":
            raise OSError("read error")
        return plain(path, side, bits)

    monkeypatch.setattr(decoding, "read_image", gone)
    with pytest.raises(EnvironmentFault, match=r"7.png could be read a moment ago"):
        open_folder(tmp_path / "d", tmp_path / "third", LIMITS)
    assert not any((tmp_path / place).exists() and list((tmp_path / place).iterdir()) for place in ("other", "third"))


def test_unreadable_training_images_are_refused_before_anything_is_trained(tmp_path):
    make_tree(tmp_path / "d" / "val", 6)
    for name in CLASSES:
        (tmp_path / "d" / "train" / name).mkdir(parents=True)
        (tmp_path / "d" / "train" / name / "x.jpg").write_bytes(b"no image")
    with pytest.raises(EnvironmentFault, match="0 readable training images"):
        open_folder(tmp_path / "d", tmp_path / "cache", LIMITS)


def test_a_crop_is_keyed_by_the_id_and_not_by_the_place_in_the_batch(tmp_path):
    data = open_folder(make_tree(tmp_path / "photos"), tmp_path / "cache", LIMITS)
    ids = np.array([5, 2, 7, 0])
    whole = data.batch(TRAIN, ids, 48, (3, 9))[0]
    for place, one in enumerate(ids):
        assert (data.batch(TRAIN, np.array([one]), 48, (3, 9))[0][0] == whole[place]).all()
