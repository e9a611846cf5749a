"""A folder of images, one sub-folder per class (ImageFolder trees), decoded once into a shared cache.

With train/ and val/ (or test/, valid/, validation/) inside, those are the splits, and half of val is held out; without,
images are dealt by the hash of their path: 70 % train, 15 % test, 15 % held out, in every class.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from halosearch.errors import EnvironmentFault
from halosearch.proxy.arrays import ArrayImages
from halosearch.proxy.dataset import HELD_OUT, TEST, TRAIN, DataReport

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
TEST_SHARE, HELD_OUT_SHARE = 0.15, 0.15
MIN_IMAGES = 8
Item = tuple[str, int]
"""A file's path below the root, and its class."""


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """Images kept by split, and the side at which they are stored."""

    train_images: int
    test_images: int
    side: int


@dataclass(frozen=True, slots=True)
class _Listing:
    classes: list[str]
    splits: dict[str, list[Item]]
    skipped: list[tuple[str, str]]
    unused: int


def open_folder(root: Path, cache: Path, limits: FolderLimits) -> ArrayImages:
    """Decode (or find decoded) a class-stratified subset of the tree below `root`.

    Raises:
        EnvironmentFault: no such folder, no class folders, fewer than two classes or eight readable images.
    """
    if not root.is_dir():
        raise EnvironmentFault(
            f"{root} is not a folder", "give a folder with one sub-folder of images per class: --data FOLDER"
        )
    listing = _list(root, limits)
    key = _key(root, listing, limits)
    folder = cache / f"images-{key}"
    if not (folder / "meta.json").exists():
        _decode(root, listing, limits, folder)
    return _open_cache(folder, root)


def _rank(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def _list(root: Path, limits: FolderLimits) -> _Listing:
    validation = next((name for name in VALIDATION_FOLDERS if (root / name).is_dir()), None)
    explicit = (root / "train").is_dir() and validation is not None
    tops = {TRAIN: root / "train", TEST: root / str(validation)} if explicit else {"all": root}
    classes = sorted(
        {d.name for top in tops.values() for d in top.iterdir() if d.is_dir() and not d.name.startswith(".")}
    )
    if len(classes) < 2:
        raise EnvironmentFault(
            f"{root} holds {len(classes)} class folder(s); at least two are needed",
            "put the images into one sub-folder per class, for example cats/ and dogs/",
        )
    found, skipped = _walk(root, tops, classes)
    splits: dict[str, list[Item]] = {TRAIN: [], TEST: [], HELD_OUT: []}
    for label in range(len(classes)):
        for split, items in _deal(found, label, explicit=explicit).items():
            splits[split] += items
    wanted = {TRAIN: limits.train_images, TEST: limits.test_images, HELD_OUT: limits.test_images}
    kept = {split: _stratified(items, wanted[split]) for split, items in splits.items()}
    unused = sum(len(splits[s]) - len(kept[s]) for s in splits)
    return _Listing(classes, kept, skipped, unused)


def _walk(
    root: Path, tops: dict[str, Path], classes: list[str]
) -> tuple[dict[tuple[str, int], list[str]], list[tuple[str, str]]]:
    """Image files by (top folder, class), and every other file with the reason why it is not used."""
    found: dict[tuple[str, int], list[str]] = {}
    skipped: list[tuple[str, str]] = []
    for name, top in tops.items():
        for path in sorted(top.rglob("*")):
            relative = path.relative_to(root).as_posix()
            parts = path.relative_to(top).parts
            if path.is_dir():
                continue
            if len(parts) < 2 or parts[0] not in classes:
                skipped.append((relative, "not inside a class folder"))
            elif path.suffix.lower() not in SUFFIXES:
                skipped.append((relative, "not an image file by its name"))
            else:
                found.setdefault((name, classes.index(parts[0])), []).append(relative)
    return found, skipped


def _deal(found: dict[tuple[str, int], list[str]], label: int, *, explicit: bool) -> dict[str, list[Item]]:
    def ranked(top: str) -> list[Item]:
        return [(path, label) for path in sorted(found.get((top, label), []), key=_rank)]

    if explicit:
        validation = ranked(TEST)
        half = -(-len(validation) // 2)
        return {TRAIN: ranked(TRAIN), TEST: validation[:half], HELD_OUT: validation[half:]}
    items = ranked("all")
    test = max(1, round(TEST_SHARE * len(items))) if len(items) > 1 else 0
    held = round(HELD_OUT_SHARE * len(items)) if len(items) > 2 else 0
    return {TEST: items[:test], HELD_OUT: items[test : test + held], TRAIN: items[test + held :]}


def _stratified(items: list[Item], limit: int) -> list[Item]:
    """At most `limit` items, the same number of every class as far as they go, in an order that mixes classes."""
    turn: dict[int, int] = {}
    order = []
    for path, label in items:
        order.append((turn.get(label, 0), _rank(path), path, label))
        turn[label] = turn.get(label, 0) + 1
    return [(path, label) for _, _, path, label in sorted(order)[:limit]]


def _key(root: Path, listing: _Listing, limits: FolderLimits) -> str:
    stats = [
        (path, label, (root / path).stat().st_size, (root / path).stat().st_mtime_ns)
        for split in sorted(listing.splits)
        for path, label in listing.splits[split]
    ]
    return hashlib.sha256(json.dumps([stats, asdict(limits), listing.classes]).encode()).hexdigest()[:16]


def read_image(path: Path, side: int) -> tuple[np.ndarray, int]:
    """The file as (side, side, 3) uint8, upright, its middle square; and its shorter side as it was.

    Raises:
        OSError, ValueError, SyntaxError: the file is no image that can be read whole.
    """
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        native = min(upright.size)
        return np.asarray(
            ImageOps.fit(
                upright, (side, side), Image.Resampling.BOX if native > 2 * side else Image.Resampling.BILINEAR
            )
        ), native


def _decode(root: Path, listing: _Listing, limits: FolderLimits, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    unreadable, sizes, labels = [], [], {}
    for split, items in listing.splits.items():
        pixels = np.empty((len(items), limits.side, limits.side, 3), np.uint8)
        kept: list[int] = []
        for path, label in items:
            try:
                pixels[len(kept)], native = read_image(root / path, limits.side)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                unreadable.append((path, f"{type(error).__name__}: {error}".replace(str(root), "")))
                continue
            kept.append(label)
            sizes.append(native)
        np.save(partial / f"{split}.npy", pixels[: len(kept)])
        labels[split] = kept
    readable = {label for split in (TRAIN, TEST) for label in labels[split]}
    empty = [name for label, name in enumerate(listing.classes) if label not in readable]
    meta = {
        "classes": listing.classes,
        "labels": labels,
        "unreadable": unreadable,
        "skipped": listing.skipped,
        "empty": empty,
        "unused": listing.unused,
        "native_size": int(np.median(sizes)) if sizes else None,
    }
    (partial / "meta.json").write_text(json.dumps(meta))
    if folder.exists():  # another process was faster with the same images
        return
    partial.rename(folder)


def _open_cache(folder: Path, root: Path) -> ArrayImages:
    meta = json.loads((folder / "meta.json").read_text())
    counts = {split: len(labels) for split, labels in meta["labels"].items()}
    classes = len(meta["classes"]) - len(meta["empty"])
    if classes < 2 or counts[TRAIN] + counts[TEST] < MIN_IMAGES or not counts[TEST]:
        broken = (
            f"; {len(meta['unreadable'])} could not be read, the first is {meta['unreadable'][0][0]}"
            if meta["unreadable"]
            else ""
        )
        raise EnvironmentFault(
            f"{root} has {counts[TRAIN] + counts[TEST]} readable images in {classes} classes, too few to train on{broken}",
            f"at least two classes and {MIN_IMAGES} images are needed",
        )
    report = DataReport(
        f"images of {root.name} ({folder.name})",
        counts,
        meta["native_size"],
        tuple(map(tuple, meta["unreadable"])),
        tuple(map(tuple, meta["skipped"])),
        tuple(meta["empty"]),
        meta["unused"],
    )
    images = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in counts}
    return ArrayImages(
        images,
        {split: np.array(labels, dtype=np.int64) for split, labels in meta["labels"].items()},
        len(meta["classes"]),
        report,
    )
