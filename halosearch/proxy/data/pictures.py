"""Labelled pictures of any number: folders of classes, CIFAR files, any Dataset of (image, label). Names are kept packed.

A source gives the picture of an index when it is asked; nothing is decoded before. What cannot be read is named by whoever reads it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halosearch.errors import EnvironmentFault, UsageError
from halosearch.proxy.data.cifar import layout_of, open_cifar
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.decoding import depth_of
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.folder_layout import ALL, MIN_CLASSES, deal, look_through, shown
from halosearch.proxy.data.hub import is_hub, open_hub
from halosearch.proxy.data.names import PackedNames
from halosearch.proxy.data.picture_kinds import ArrayPictures, FilePictures, Pictures, StoredPictures
from halosearch.proxy.data.tars import is_ilsvrc, mark_of, open_ilsvrc, open_shards, shards_of

LOOKED_AT = 64
ALL_IMAGES = 2**40
"""No limit on how many images of a file are kept."""


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures to train on and to score on, names of classes, a sentence, what was left out with its reason, a mark of the whole."""

    train: Pictures
    test: Pictures
    classes: tuple[str, ...]
    description: str
    left_out: tuple[tuple[str, str], ...]
    fingerprint: str


def check_labels(name: str, trained: np.ndarray, scored: np.ndarray) -> None:
    """Refuse classes without a training picture: they would be scored as mistakes.

    Raises:
        EnvironmentFault: fewer than two classes, a negative label, or one to score that is never trained.
    """
    known = np.unique(trained)
    strange = np.setdiff1d(scored, known)
    if len(known) < MIN_CLASSES or known.min() < 0:
        raise EnvironmentFault(
            f"{shown(name)} has {len(known)} class(es) to train on",
            "labels are numbers from 0, of two classes at least",
        )
    if len(strange):
        raise EnvironmentFault(
            f"{shown(name)} has {len(strange)} class(es) to score that are never trained, the first: {strange[0]}",
            "give both the same classes",
        )


def is_packed(data: str) -> bool:
    """Whether pictures lie inside archives or tables."""
    root = Path(data).expanduser()
    return is_hub(data) or (root.is_dir() and (is_ilsvrc(root) or any(shards_of(root).values())))


def open_pictures(data: str) -> Source:
    """The pictures that a path names.

    Folders with splits are used as they lie: train is trained on, test (without it val) is scored. Without splits those 15 % are scored that
    a study holds out.

    Raises:
        EnvironmentFault: nothing is there, or nothing that can be trained on.
        UsageError: built-in scenes, which have no classes.
    """
    if data in DIFFICULTIES:
        raise UsageError(f"{data} are scenes for short trainings, not pictures of classes", "--data FOLDER")
    if is_hub(data):
        return _of_hub(data)
    root = Path(data).expanduser()
    if not root.exists():
        raise EnvironmentFault(
            f"there is no data at {data}", "--data FOLDER: class folders, CIFAR files, tars, parquet files"
        )
    if not root.is_dir():
        raise EnvironmentFault(f"{shown(root.name)} is a file, not a folder", "--data FOLDER; unpack an archive first")
    if layout_of(root):
        return _of_cifar(root)
    if is_ilsvrc(root):
        train, val, classes, mark = open_ilsvrc(root)
        return Source(train, val, classes, f"ILSVRC-2012 archives ({_counts(train, val)})", (), mark)
    if any(shards_of(root).values()):
        return _of_shards(root)
    return _of_folder(root)


def _counts(train: Pictures, test: Pictures) -> str:
    return f"{len(train):,} to train, {len(test):,} scored"


def _of_shards(root: Path) -> Source:
    shards = shards_of(root)
    scored = shards[TEST] or shards[HELD_OUT]
    if not scored or not shards[TRAIN]:
        raise EnvironmentFault(
            f"{shown(root.name)} has {len(shards[TRAIN])} shard(s) to train on and {len(scored)} to score on",
            "shards are told by their names: train-0000.tar, val-0000.tar",
        )
    (train, lost), (test, more) = open_shards(shards[TRAIN]), open_shards(scored)
    if not len(train) or not len(test):
        raise EnvironmentFault(
            f"the shards of {shown(root.name)} hold {_counts(train, test)}",
            "a sample is a picture and a class: 0001.jpg, 0001.cls",
        )
    classes = tuple(str(n) for n in range(1 + int(train.labels.max())))
    check_labels(root.name, train.labels, test.labels)
    left = (("samples", f"{lost + more:,} without a picture or a class"),) if lost + more else ()
    words = f"WebDataset shards of {shown(root.name)} ({_counts(train, test)}{_read_as(train, test)})"
    return Source(train, test, classes, words, left, mark_of([*shards[TRAIN], *scored], train, test))


def _of_hub(data: str) -> Source:
    train, test, classes, words, mark = open_hub(data)
    check_labels(words, train.labels, test.labels)
    return Source(train, test, classes, f"{words} ({_counts(train, test)}{_read_as(train, test)})", (), mark)


def _of_cifar(root: Path) -> Source:
    found = open_cifar(root, ALL_IMAGES, ALL_IMAGES)
    images, labels = found.arrays()
    tested = ArrayPictures(
        np.concatenate([images[TEST], images[HELD_OUT]]), np.concatenate([labels[TEST], labels[HELD_OUT]])
    )
    classes = tuple(str(n) for n in range(found.factors[0].classes))
    report = found.report
    trained = ArrayPictures(images[TRAIN], labels[TRAIN])
    return Source(trained, tested, classes, report.description, report.unreadable, report.fingerprint)


def _read_as(train: StoredPictures, test: StoredPictures) -> str:
    """Find what greys that are stored in 16 bits use of them, by a few training pictures, have both splits read so, and say it."""
    tops = {}
    for index in np.unique(np.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).astype(int)).tolist():
        try:
            with train.stored(index) as image:
                if image.mode.startswith("I"):
                    tops[train.name(index)] = int(np.asarray(image).max())
        except Exception:  # noqa: BLE001  # whoever reads it will name it
            continue
    found = depth_of(tops)
    if found is None:
        return ""
    train.bits = test.bits = found.bits
    return f", greys in 16 bits are read as {found.bits} bits, by {LOOKED_AT} files"


def _of_folder(root: Path) -> Source:
    found, tops = look_through(root)
    if ALL in tops:
        items = deal(found, tops)
        splits = {
            TRAIN: items[TRAIN] + items[TEST],
            TEST: items[HELD_OUT],
        }  # a search has not looked at those that are scored
        how = "15 % of each class scored"
    else:
        scored = HELD_OUT if HELD_OUT in tops else TEST
        splits = {
            split: [
                (path, label) for (top, label), paths in sorted(found.images.items()) if top == own for path in paths
            ]
            for split, own in ((TRAIN, TRAIN), (TEST, scored))
        }
        how = "scored on its own folder"
    marks = hashlib.sha256()
    for split, each in splits.items():
        for path, label in each:
            marks.update(
                os.fsencode(f"{split} {label} {found.marks[path][0]} {path}\n")
            )  # not its time: copies are the same
    pictures = {
        split: FilePictures(root, PackedNames([path for path, _ in each]), np.array([y for _, y in each], np.int32))
        for split, each in splits.items()
    }
    for split, own in pictures.items():
        if not len(own):
            raise EnvironmentFault(f"{shown(root.name)} has no images to {split}", "see docs/images.md for layouts")
    how += _read_as(pictures[TRAIN], pictures[TEST])
    words = f"images of {shown(root.name)} ({_counts(pictures[TRAIN], pictures[TEST])}, {how})"
    names = tuple(shown(name) for name in found.classes)
    return Source(pictures[TRAIN], pictures[TEST], names, words, tuple(found.skipped), marks.hexdigest())
