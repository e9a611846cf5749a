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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from halosearch.container import cores
from halosearch.errors import EnvironmentFault
from halosearch.files import write_text
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, DataReport
from halosearch.proxy.data.folder_layout import EMPTY, MIN_CLASSES, Item, deal, look_through, shown, stratified

MIN_IMAGES = 8
AT_ONCE, MOST_THREADS = 64, 16
"""Images that are decoded together, and by how many threads at most."""
SIXTEEN_BITS = 65_535
META = "meta.json"


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
    listing = _list(root, limits)
    folder = cache / f"images-{_key(listing, limits)}"
    if not (folder / META).exists():
        _decode(root, listing, limits, folder, watch)
    return open_decoded(folder, root, dense=dense)


def _list(root: Path, limits: FolderLimits) -> _Listing:
    found, tops = look_through(root)
    splits = deal(found, tops)
    wanted = {TRAIN: limits.train_images, TEST: limits.test_images, HELD_OUT: limits.test_images}
    kept = {split: stratified(items, wanted[split]) for split, items in splits.items()}
    unused = sum(len(splits[s]) - len(kept[s]) for s in splits)
    return _Listing(found.classes, kept, found.skipped, unused, found.marks)


def _key(listing: _Listing, limits: FolderLimits) -> str:
    stats = [
        (path, label, *listing.marks[path]) for split in sorted(listing.splits) for path, label in listing.splits[split]
    ]
    return hashlib.sha256(json.dumps([stats, asdict(limits), listing.classes]).encode()).hexdigest()[:16]


def read_image(path: Path, side: int) -> tuple[np.ndarray, int]:
    """The file as (side, side, 3) uint8, upright, its middle square; and its shorter side as it was.

    Raises:
        Exception: the file is no image that can be read whole, or its pixels are not bytes or 16 bits; decoders raise many kinds.
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


def _decode(root: Path, listing: _Listing, limits: FolderLimits, folder: Path, watch: Watch) -> None:
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


def _read_all(root: Path, items: list[Item], side: int) -> Iterator[tuple[Item, tuple[np.ndarray, int] | Exception]]:
    """Every item with its picture, or with what its decoder raised; in order, decoded on all cores."""

    def read(item: Item) -> tuple[np.ndarray, int] | Exception:
        try:
            return read_image(root / item[0], side)
        except Exception as error:  # noqa: BLE001  # decoders raise whatever they like for one file of many
            return error

    with ThreadPoolExecutor(min(MOST_THREADS, cores())) as pool:
        for first in range(0, len(items), AT_ONCE):
            part = items[first : first + AT_ONCE]
            yield from zip(part, pool.map(read, part), strict=True)


def _decode_into(partial: Path, root: Path, listing: _Listing, limits: FolderLimits, watch: Watch) -> None:
    partial.mkdir(parents=True)
    warnings.filterwarnings("ignore", module="PIL")  # what Pillow can read it reads; its remarks name paths
    done, total = 0, sum(map(len, listing.splits.values()))
    unreadable: list[tuple[str, str]] = []
    sizes: list[int] = []
    labels: dict[str, list[int]] = {}
    digest = hashlib.sha256()
    for split, items in listing.splits.items():
        shape = (max(1, len(items)), limits.side, limits.side, 3)
        pixels = _reserved(partial / f"{split}.npy", shape)
        kept: list[int] = []
        for (path, label), found in _read_all(root, items, limits.side):
            done += 1
            if done % AT_ONCE == 0 and not watch(done, total):
                raise DecodingStoppedError
            if isinstance(found, Exception):
                unreadable.append((shown(path), shown(f"{type(found).__name__}: {found}".replace(str(root), ""))))
                continue
            pixels[len(kept)], native = found
            digest.update(pixels[len(kept)].tobytes() + bytes(listing.classes[label], "utf-8", "surrogateescape"))
            kept.append(label)
            sizes.append(native)
        pixels.flush()  # type: ignore[attr-defined]
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


def open_decoded(folder: Path, root: Path, *, dense: bool = False) -> ArrayImages:
    """The images that a process has decoded into `folder`.

    Raises:
        EnvironmentFault: too few images or classes to train on.
    """
    meta = json.loads((folder / META).read_text())
    stored = {split: np.array(found, dtype=np.int64) for split, found in meta["labels"].items()}
    trained, labels = _outputs(stored)
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
        f"images of {shown(root.name)}",
        counts,
        meta["native_size"],
        tuple((path, reason) for path, reason in meta["unreadable"]),
        tuple((path, reason) for path, reason in meta["skipped"] if reason != EMPTY),
        tuple(
            sorted(
                [shown(name) for label, name in enumerate(classes) if label not in set(trained)]
                + [Path(path).name for path, reason in meta["skipped"] if reason == EMPTY]
            )
        ),
        meta["unused"],
        meta["sha256"],
        tuple(shown(classes[label]) for label in trained),
    )
    images = {split: _pixels(folder / f"{split}.npy", kept[split]) for split in counts}
    return ArrayImages(images, labels, len(trained), report, folder, dense=dense)


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
