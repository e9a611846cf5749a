"""A folder of images, one sub-folder per class (ImageFolder trees), decoded once into a shared cache.

With train/ and val/ (or valid/, validation/, test/) inside, those are the splits; test/ beside val/ is held out, and without
it half of val is. Otherwise images are dealt by the hash of their path: 70 % train, 15 % test, 15 % held out, in every class.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from halosearch.errors import EnvironmentFault
from halosearch.files import write_text
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, DataReport

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
TEST_SHARE, HELD_OUT_SHARE = 0.15, 0.15
MIN_IMAGES = 8
MIN_CLASSES = 2
SIXTEEN_BITS = 65_535
ALL = "all"
META = "meta.json"
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,
    Image.DecompressionBombError,
)
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


def open_folder(root: Path, cache: Path, limits: FolderLimits, *, dense: bool = False) -> ArrayImages:
    """Decode (or find decoded) a class-stratified subset of the tree below `root`.

    Raises:
        EnvironmentFault: no such folder, no class folders, fewer than two classes or eight readable images.
    """
    if not root.is_dir():
        raise EnvironmentFault(
            f"{root} is not a folder", "give a folder with one sub-folder of images per class: --data FOLDER"
        )
    listing = _list(root, limits)
    folder = cache / f"images-{_key(root, listing, limits)}"
    if not (folder / META).exists():
        _decode(root, listing, limits, folder)
    return open_decoded(folder, root, dense=dense)


def _rank(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _shown(path: str) -> str:
    """A path that can be printed whatever bytes it is made of."""
    return path.encode("utf-8", "backslashreplace").decode()


def _tops(root: Path) -> dict[str, Path]:
    """Which folders hold the classes of which split; "all" where the images have to be dealt."""
    if not (root / "train").is_dir():
        return {ALL: root}
    others = [name for name in VALIDATION_FOLDERS if (root / name).is_dir()]
    if not others:
        return {ALL: root / "train"}
    tops = {TRAIN: root / "train", TEST: root / others[0]}
    return tops | ({HELD_OUT: root / "test"} if "test" in others[1:] else {})


def _list(root: Path, limits: FolderLimits) -> _Listing:
    tops = _tops(root)
    classes = sorted(
        {d.name for top in tops.values() for d in top.iterdir() if d.is_dir() and not d.name.startswith(".")}
    )
    if len(classes) < MIN_CLASSES:
        where = next(iter(tops.values()))
        raise EnvironmentFault(
            f"{where} holds {len(classes)} class folder(s); at least two are needed",
            "put the images into one sub-folder per class, for example cats/ and dogs/",
        )
    found, skipped = _walk(root, tops, classes)
    splits: dict[str, list[Item]] = {TRAIN: [], TEST: [], HELD_OUT: []}
    for label in range(len(classes)):
        for split, items in _deal(found, label, set(tops)).items():
            splits[split] += items
    wanted = {TRAIN: limits.train_images, TEST: limits.test_images, HELD_OUT: limits.test_images}
    kept = {split: _stratified(items, wanted[split]) for split, items in splits.items()}
    unused = sum(len(splits[s]) - len(kept[s]) for s in splits)
    return _Listing(classes, kept, skipped, unused)


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every file below `folder`, in a fixed order, through links to folders but never into one that it lies in."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        if path.is_dir():
            yield from _files(path, (*above, real))
        else:
            yield path


def _walk(
    root: Path, tops: dict[str, Path], classes: list[str]
) -> tuple[dict[tuple[str, int], list[str]], list[tuple[str, str]]]:
    """Image files by (top folder, class), and every other file with the reason why it is not used."""
    found: dict[tuple[str, int], list[str]] = {}
    skipped: list[tuple[str, str]] = []
    for path in _files(root):
        relative = path.relative_to(root).as_posix()
        top = next((name for name, folder in tops.items() if path.is_relative_to(folder)), None)
        parts = () if top is None else path.relative_to(tops[top]).parts
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            skipped.append((_shown(relative), "hidden"))
        elif top is None or len(parts) < 2 or parts[0] not in classes:
            skipped.append((_shown(relative), "not inside a class folder"))
        elif path.suffix.lower() not in SUFFIXES:
            skipped.append((_shown(relative), "not an image file by its name"))
        else:
            found.setdefault((top, classes.index(parts[0])), []).append(relative)
    return found, skipped


def _deal(found: dict[tuple[str, int], list[str]], label: int, tops: set[str]) -> dict[str, list[Item]]:
    def ranked(top: str) -> list[Item]:
        return [(path, label) for path in sorted(found.get((top, label), []), key=_rank)]

    if ALL not in tops:
        test = ranked(TEST)
        half = len(test) if HELD_OUT in tops else -(-len(test) // 2)
        return {TRAIN: ranked(TRAIN), TEST: test[:half], HELD_OUT: ranked(HELD_OUT) + test[half:]}
    items = ranked(ALL)
    tested = max(1, round(TEST_SHARE * len(items))) if len(items) > 1 else 0
    held = round(HELD_OUT_SHARE * len(items)) if len(items) > 2 else 0
    return {TEST: items[:tested], HELD_OUT: items[tested : tested + held], TRAIN: items[tested + held :]}


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
        OSError, ValueError, SyntaxError: the file is no image that can be read whole, or its pixels are not bytes or 16 bits.
    """
    with Image.open(path) as image:
        upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
        native = min(upright.size)
        method = Image.Resampling.BOX if native > 2 * side else Image.Resampling.BILINEAR
        return np.asarray(ImageOps.fit(upright, (side, side), method)), native


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey; Pillow's own conversion would clip it to white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > SIXTEEN_BITS:
            raise ValueError("pixels are outside 16 bits")
        return Image.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return image


def _decode(root: Path, listing: _Listing, limits: FolderLimits, folder: Path) -> None:
    for stale in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    unreadable: list[tuple[str, str]] = []
    sizes: list[int] = []
    labels: dict[str, list[int]] = {}
    digest = hashlib.sha256()
    for split, items in listing.splits.items():
        shape = (max(1, len(items)), limits.side, limits.side, 3)
        pixels = np.lib.format.open_memmap(partial / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
        kept: list[int] = []
        for path, label in items:
            try:
                pixels[len(kept)], native = read_image(root / path, limits.side)
            except UNREADABLE as error:
                unreadable.append((_shown(path), f"{type(error).__name__}: {error}".replace(str(root), "")))
                continue
            digest.update(pixels[len(kept)].tobytes() + bytes(listing.classes[label], "utf-8", "surrogateescape"))
            kept.append(label)
            sizes.append(native)
        pixels.flush()
        labels[split] = kept
    meta = {
        "classes": listing.classes,
        "labels": labels,
        "unreadable": unreadable,
        "skipped": listing.skipped,
        "unused": listing.unused,
        "native_size": int(np.median(sizes)) if sizes else None,
        "sha256": digest.hexdigest(),
    }
    write_text(partial / META, json.dumps(meta))
    partial.rename(folder)


def open_decoded(folder: Path, root: Path, *, dense: bool = False) -> ArrayImages:
    """The images that a process has decoded into `folder`.

    Raises:
        EnvironmentFault: too few images or classes to train on.
    """
    meta = json.loads((folder / META).read_text())
    labels = {split: np.array(found, dtype=np.int64) for split, found in meta["labels"].items()}
    counts = {split: len(found) for split, found in labels.items()}
    classes: list[str] = meta["classes"]
    trained = set(labels[TRAIN].tolist())
    if len(trained) < MIN_CLASSES or sum(counts.values()) < MIN_IMAGES or not counts[TEST]:
        broken = meta["unreadable"]
        first = f"; {len(broken)} could not be read, the first is {broken[0][0]}" if broken else ""
        raise EnvironmentFault(
            f"{root} has {counts[TRAIN]} readable training images in {len(trained)} classes and {counts[TEST]} to test on{first}",
            f"at least two classes and {MIN_IMAGES} images are needed",
        )
    report = DataReport(
        f"images of {_shown(root.name)}",
        counts,
        meta["native_size"],
        tuple((path, reason) for path, reason in meta["unreadable"]),
        tuple((path, reason) for path, reason in meta["skipped"]),
        tuple(_shown(name) for label, name in enumerate(classes) if label not in trained),
        meta["unused"],
        meta["sha256"],
    )
    images = {split: np.load(folder / f"{split}.npy", mmap_mode="r")[: counts[split]] for split in counts}
    return ArrayImages(images, labels, len(classes), report, folder, dense=dense)
