"""A folder of images, one sub-folder per class (ImageFolder trees), decoded once into a shared cache.

Which folders are splits and classes: see `folder_layout`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halosearch.errors import EnvironmentFault
from halosearch.files import write_text
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, DataReport
from halosearch.proxy.data.decoding import AT_ONCE, DEPTHS, Opened, depth_of, read_all
from halosearch.proxy.data.folder_layout import EMPTY, MIN_CLASSES, Item, deal, look_through, shown, stratified

MIN_IMAGES = 8
META = "meta.json"


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """Images kept by split, and the side at which they are stored."""

    train_images: int
    test_images: int
    side: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What is decoded: (name, class) by split; `opened`: from a name to its picture."""

    opened: Opened
    classes: list[str]
    splits: dict[str, list[Item]]
    skipped: list[tuple[str, str]]
    unused: int
    marks: dict[str, tuple[int, int]]


Watch = Callable[[int, int], bool]
"""Told how many images of how many are decoded; says whether to go on."""


class DecodingStoppedError(Exception):
    """Decoding was asked to stop; nothing of it is left."""


def unwatched(done: int, total: int) -> bool:
    """Nobody is told, and decoding goes on."""
    del done, total
    return True


def open_folder(
    root: Path, cache: Path, limits: FolderLimits, *, dense: bool = False, watch: Watch = unwatched
) -> ArrayImages:
    """Decode (or find decoded) a class-stratified subset of the tree below `root`, on all cores.

    Raises:
        EnvironmentFault: no such folder, no class folders, fewer than two classes or eight readable images.
        DecodingStoppedError: `watch` said so.
    """
    if not root.is_dir():
        raise EnvironmentFault(
            f"{root} is not a folder", "give a folder with one sub-folder of images per class: --data FOLDER"
        )
    return decoded(root, _list(root, limits), cache, limits, dense, watch)


def decoded(root: Path, listing: Listing, cache: Path, limits: FolderLimits, dense: bool, watch: Watch) -> ArrayImages:
    """Decoded now, or found decoded."""
    folder = cache / f"images-{_key(listing, limits)}"
    if not (folder / META).exists():
        _decode(root, listing, limits, folder, watch)
    return open_decoded(folder, root, dense=dense)


def _list(root: Path, limits: FolderLimits) -> Listing:
    found, tops = look_through(root)
    kept, unused = within(deal(found, tops), limits)
    return Listing(lambda path: root / path, found.classes, kept, found.skipped, unused, found.marks)


def within(splits: dict[str, list[Item]], limits: FolderLimits) -> tuple[dict[str, list[Item]], int]:
    """What the limits keep of every split, and how many images that leaves out."""
    wanted = {TRAIN: limits.train_images, TEST: limits.test_images, HELD_OUT: limits.test_images}
    kept = {split: stratified(items, wanted[split]) for split, items in splits.items()}
    return kept, sum(len(splits[split]) - len(kept[split]) for split in splits)


def _key(listing: Listing, limits: FolderLimits) -> str:
    stats = [
        (path, label, *listing.marks[path]) for split in sorted(listing.splits) for path, label in listing.splits[split]
    ]
    return hashlib.sha256(json.dumps([stats, asdict(limits), listing.classes]).encode()).hexdigest()[:16]


def _decode(root: Path, listing: Listing, limits: FolderLimits, folder: Path, watch: Watch) -> None:
    """Decode into a folder beside, renamed when it is whole; nothing stays where that fails.

    Raises:
        EnvironmentFault: the disk has no room.
    """
    for stale in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        _decode_into(partial, root, listing, limits, watch)
        partial.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        need = sum(map(len, listing.splits.values())) * 3 * limits.side**2
        raise EnvironmentFault(
            f"the disk has no room for the decoded images ({need / 1e6:.0f} MB below {shown(str(folder.parent))})",
            "free some space and run the same command again",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reserved(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A memory map with its room on the disk taken: a page of a sparse one that finds none later ends the process."""
    pixels: np.ndarray = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return pixels


def _decode_into(partial: Path, root: Path, listing: Listing, limits: FolderLimits, watch: Watch) -> None:
    partial.mkdir(parents=True)
    warnings.filterwarnings("ignore", module="PIL")  # what Pillow can read it reads; its remarks name paths
    done, total = 0, sum(map(len, listing.splits.values()))
    unreadable: list[tuple[str, str]] = []
    sizes: list[int] = []
    labels: dict[str, list[int]] = {}
    pixels: dict[str, np.ndarray] = {}
    deep: dict[tuple[str, int], tuple[str, int]] = {}
    digest = hashlib.sha256()
    for split, items in listing.splits.items():
        pixels[split] = _reserved(partial / f"{split}.npy", (max(1, len(items)), limits.side, limits.side, 3))
        kept = labels[split] = []
        for (path, label), found in zip(
            items, read_all(listing.opened, [path for path, _ in items], limits.side), strict=True
        ):
            done += 1
            if done % AT_ONCE == 0 and not watch(done, total):
                raise DecodingStoppedError
            if isinstance(found, Exception):
                unreadable.append((shown(path), shown(f"{type(found).__name__}: {found}".replace(str(root), ""))))
                continue
            if found.top is not None:
                deep[split, len(kept)] = path, found.top
            pixels[split][len(kept)] = found.pixels
            digest.update(_identity(found.pixels, listing.classes[label]))
            kept.append(label)
            sizes.append(found.native)
        pixels[split].flush()  # type: ignore[attr-defined]
    depth = depth_of(dict(deep.values()))
    if depth is not None and depth.bits < DEPTHS[-1]:
        paths = {place: path for place, (path, _) in deep.items()}
        _brighten(
            pixels, listing.opened, paths, limits.side, depth.bits, lambda again: watch(done + again, total + len(deep))
        )
        digest = _digest(pixels, labels, listing.classes)
    meta = {
        "classes": listing.classes,
        "labels": labels,
        "unreadable": unreadable,
        "skipped": listing.skipped,
        "unused": listing.unused,
        "native_size": int(np.median(sizes)) if sizes else None,
        "deep": None if depth is None else asdict(depth),
        "sha256": digest.hexdigest(),
    }
    write_text(partial / META, json.dumps(meta))


def _brighten(
    pixels: dict[str, np.ndarray],
    opened: Opened,
    deep: dict[tuple[str, int], str],
    side: int,
    bits: int,
    watch: Callable[[int], bool],
) -> None:
    """Read again, and stretch to white, pictures stored in 16 bits of which the folder uses fewer.

    Raises:
        EnvironmentFault: a file that could be read a moment ago now cannot.
    """
    again = read_all(opened, list(deep.values()), side, bits)
    for done, ((split, row), found) in enumerate(zip(deep, again, strict=True), 1):
        if done % AT_ONCE == 0 and not watch(done):
            raise DecodingStoppedError
        if isinstance(found, Exception):
            raise EnvironmentFault(
                f"{shown(deep[split, row])} could be read a moment ago and now cannot ({type(found).__name__})",
                "run the same command again",
            )
        pixels[split][row] = found.pixels
    for each in pixels.values():
        each.flush()  # type: ignore[attr-defined]


def _digest(pixels: dict[str, np.ndarray], labels: dict[str, list[int]], classes: list[str]) -> hashlib._Hash:
    """Of the pictures as they are now stored."""
    digest = hashlib.sha256()
    for split, found in labels.items():
        for row, label in enumerate(found):
            digest.update(_identity(pixels[split][row], classes[label]))
    return digest


def _identity(pixels: np.ndarray, name: str) -> bytes:
    """A picture and its class."""
    return pixels.tobytes() + bytes(name, "utf-8", "surrogateescape")


def open_decoded(folder: Path, root: Path, *, dense: bool = False) -> ArrayImages:
    """The images that a process has decoded into `folder`.

    Raises:
        EnvironmentFault: too few images or classes to train on.
    """
    meta = json.loads((folder / META).read_text())
    stored = {split: np.array(found, dtype=np.int64) for split, found in meta["labels"].items()}
    trained, labels = _outputs(stored)
    known = set(trained)
    kept = {split: found >= 0 for split, found in labels.items()}
    labels = {split: found[kept[split]] for split, found in labels.items()}
    counts = {split: len(found) for split, found in labels.items()}
    classes: list[str] = meta["classes"]
    if len(trained) < MIN_CLASSES or sum(counts.values()) < MIN_IMAGES or not counts[TEST]:
        broken = meta["unreadable"]
        first = f"; {len(broken)} could not be read, the first is {broken[0][0]}" if broken else ""
        raise EnvironmentFault(
            f"{root} has {counts[TRAIN]} readable training images in {len(trained)} classes and {counts[TEST]} to test on{first}",
            f"at least two classes and {MIN_IMAGES} images are needed",
        )
    report = DataReport(
        f"images of {shown(root.name)}" + _depth(meta.get("deep")),
        counts,
        meta["native_size"],
        tuple((path, reason) for path, reason in meta["unreadable"]),
        tuple((path, reason) for path, reason in meta["skipped"] if reason != EMPTY),
        tuple(
            sorted(
                [shown(name) for label, name in enumerate(classes) if label not in known]
                + [Path(path).name for path, reason in meta["skipped"] if reason == EMPTY]
            )
        ),
        meta["unused"],
        meta["sha256"],
        tuple(shown(classes[label]) for label in trained),
    )
    images = {split: _pixels(folder / f"{split}.npy", kept[split]) for split in counts}
    return ArrayImages(images, labels, len(trained), report, folder, dense=dense)


def _depth(deep: dict[str, Any] | None) -> str:
    """What is said of pictures stored in 16 bits."""
    if deep is None:
        return ""
    alone = f"; all but {shown(deep['alone'])} would need {deep['others']} bits" if deep["alone"] else ""
    white = f"{2 ** deep['bits'] - 1:,} is read as white"
    return f" ({deep['images']:,} stored in 16 bits, none above {deep['top']:,}: {white}{alone})"


def _outputs(stored: dict[str, np.ndarray]) -> tuple[list[int], dict[str, np.ndarray]]:
    """Classes with a readable training image, and labels numbered by them; -1 where a class has none."""
    trained = sorted(set(stored[TRAIN].tolist()))
    number = {label: index for index, label in enumerate(trained)}
    return trained, {
        split: np.array([number.get(label, -1) for label in found.tolist()], dtype=np.int64)
        for split, found in stored.items()
    }


def _pixels(path: Path, kept: np.ndarray) -> np.ndarray:
    """Pictures from a memory map; only where some are of no class that is trained, read and left out."""
    pixels: np.ndarray = np.load(path, mmap_mode="r")[: len(kept)]
    return pixels if kept.all() else pixels[kept]
