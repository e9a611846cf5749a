"""Folders as people have them: what is a split, a class, junk, and what is refused with the reason."""

import errno
import os
import re
import stat

import numpy as np
import pytest
from PIL import Image

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data import decoding
from halosearch.proxy.data import folder as folder_module
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.folder import DecodingStoppedError, FolderLimits, open_folder
from halosearch.proxy.data.folder_layout import shown

LIMITS = FolderLimits(1000, 1000, 32)


def fill(folder, count, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"p{index}.png")


def opened(root, tmp_path):
    return open_folder(root, tmp_path / "cache", LIMITS)


@pytest.mark.parametrize(
    ("train", "test", "held_out"),
    [
        ("Training", "Testing", None),
        ("TRAIN", "Valid", "Test"),
        ("train", "dev", None),
        ("train", "validation", "testing"),
    ],
)
def test_splits_have_their_usual_names_in_any_case(tmp_path, train, test, held_out):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / train / name, 8, number)
        fill(root / test / name, 4, 10 + number)
        if held_out:
            fill(root / held_out / name, 3, 20 + number)
    report = opened(root, tmp_path).report
    assert report.classes == ("ant", "bee")
    assert report.images == {TRAIN: 16, TEST: 8 if held_out else 4, HELD_OUT: 6 if held_out else 4}


def test_a_folder_called_train_without_folders_in_it_is_a_class(tmp_path):
    for number, name in enumerate(("bus", "car", "train")):
        fill(tmp_path / "d" / name, 6, number)
    assert opened(tmp_path / "d", tmp_path).report.classes == ("bus", "car", "train")


def test_an_unlabelled_flat_test_folder_is_named_and_left_out(tmp_path):
    root = tmp_path / "d"
    for number, name in enumerate(("cat", "dog")):
        fill(root / "train" / name, 10, number)
    fill(root / "test", 3, 9)
    report = opened(root, tmp_path).report
    assert report.classes == ("cat", "dog")
    assert sum(report.images.values()) == 20
    assert [path for path, reason in report.skipped if reason == "not inside a class folder"] == [
        f"test/p{i}.png" for i in range(3)
    ]


def two_spellings(root):
    fill(root / "train" / "a", 6)
    fill(root / "train" / "b", 6)
    fill(root / "val" / "A", 6)


def two_trains(root):
    fill(root / "Train" / "a", 6)
    fill(root / "train" / "b", 6)


def one_deeper(root):
    fill(root / "images" / "a", 6)
    fill(root / "images" / "b", 6)


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (two_spellings, "that train has not: A", "same class folders"),
        (two_trains, "has Train and train, and one of them can be train", "rename"),
        (one_deeper, "holds 1 class folder", "one folder deeper: --data .*images"),
        (lambda root: fill(root, 6), "holds 0 class folder", "one sub-folder per class"),
    ],
)
def test_what_would_be_misread_is_refused_with_the_reason(tmp_path, make, said, hint):
    make(tmp_path / "d")
    if "Train and train" in said and len(list((tmp_path / "d").iterdir())) == 1:
        pytest.skip("names without case")
    with pytest.raises(EnvironmentFault, match=said) as caught:
        opened(tmp_path / "d", tmp_path)
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize("junk", ["__MACOSX", "lost+found", "@eaDir", "notes"])
def test_folders_without_readable_images_are_no_outputs(tmp_path, junk):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / name, 8, number)
    clean = opened(root, tmp_path)
    (root / junk).mkdir()
    (root / junk / "info.txt").write_text("x")
    (root / "broken").mkdir()
    (root / "broken" / "a.jpg").write_bytes(b"no image")
    data = opened(root, tmp_path)
    assert data.report.classes == ("ant", "bee")
    assert data.report.empty_classes == tuple(sorted(["broken", junk]))
    assert data.factors[0].classes == 2
    assert data.report.fingerprint == clean.report.fingerprint
    _, labels, _ = data.batch(TRAIN, np.arange(data.size(TRAIN)), 32, None)
    _, others, _ = clean.batch(TRAIN, np.arange(clean.size(TRAIN)), 32, None)
    assert labels.tolist() == others.tolist()


def test_only_regular_files_are_opened_and_everything_else_is_named(tmp_path):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / name, 8, number)
    os.mkfifo(root / "ant" / "pipe.png")
    (root / "bee" / "annex.png").symlink_to("../.git/annex/objects/nothing")
    (root / "bee" / "good.png").symlink_to(root / "ant" / "p0.png")
    reasons = dict(opened(root, tmp_path).report.skipped)
    assert reasons == {"ant/pipe.png": "neither a file nor a folder", "bee/annex.png": "a link to nothing"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee", "lost+found")):
        fill(root / name, 8, number)
    (root / "lost+found").chmod(0)
    try:
        assert any("cannot be read" in reason for _, reason in opened(root, tmp_path).report.skipped)
    finally:
        (root / "lost+found").chmod(stat.S_IRWXU)


class OddError(Exception):
    """What no list of exceptions holds."""


@pytest.mark.parametrize(
    "error", [TypeError("exif"), OddError("codec"), RecursionError("deep"), ZeroDivisionError("rational")]
)
def test_whatever_a_decoder_raises_costs_its_file_only(tmp_path, monkeypatch, error):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / name, 8, number)
    plain = decoding.read_image

    def odd(path, side, bits):
        if path.name == "p3.png" and path.parent.name == "ant":
            raise error
        return plain(path, side, bits)

    monkeypatch.setattr(decoding, "read_image", odd)
    report = opened(root, tmp_path).report
    assert [path for path, _ in report.unreadable] == ["ant/p3.png"]
    assert type(error).__name__ in report.unreadable[0][1]
    assert sum(report.images.values()) == 15


def test_decoding_is_watched_and_stopped_and_leaves_nothing(tmp_path, monkeypatch):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / name, 20, number)
    monkeypatch.setattr(folder_module, "AT_ONCE", 8)
    told = []

    def watch(done, total):
        told.append((done, total))
        return len(told) < 3

    with pytest.raises(DecodingStoppedError):
        open_folder(root, tmp_path / "cache", LIMITS, watch=watch)
    assert told == [(8, 40), (16, 40), (24, 40)]
    assert list((tmp_path / "cache").iterdir()) == []
    plain = opened(root, tmp_path)
    assert plain.report.images == {TRAIN: 28, TEST: 6, HELD_OUT: 6}
    monkeypatch.setattr(decoding, "MOST_THREADS", 1)
    alone = open_folder(root, tmp_path / "other", LIMITS)
    assert alone.report == plain.report  # the same order on any number of threads


def test_a_full_disk_is_said_before_anything_is_decoded_and_nothing_stays(tmp_path, monkeypatch):
    root = tmp_path / "d"
    for number, name in enumerate(("ant", "bee")):
        fill(root / name, 8, number)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EnvironmentFault, match="the disk has no room for the decoded images") as caught:
        opened(root, tmp_path)
    assert caught.value.exit_code == 4
    assert list((tmp_path / "cache").iterdir()) == []


def test_names_are_shown_without_what_a_terminal_obeys(tmp_path):
    assert shown("a\nb\x1b[31mc") == "a\\nb\\x1b[31mc"
    assert shown(os.fsdecode(b"caf\xe9.png")) == "caf\\udce9.png"
    assert shown("naïve 漢字.png") == "naïve 漢字.png"
