"""What a folder of images is: which of its folders are splits and classes, which files are images, and why the others are not used."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"})
SPLITS = {
    TRAIN: ("train", "training"),
    TEST: ("val", "valid", "validation", "dev"),
    HELD_OUT: ("test", "testing"),
}
"""Names of folders by split, in any case."""
TEST_SHARE, HELD_OUT_SHARE = 0.15, 0.15
MIN_CLASSES = 2
SHOWN = 5
ALL = "all"
EMPTY = "a class folder without images"
Item = tuple[str, int]
"""A file's path below the root, and its class."""


@dataclass(frozen=True, slots=True)
class Found:
    """Classes by name; images by (top folder, class); every other file or folder with the reason why it is not used; files' marks.

    A mark is size and time of a change, which tell a file from the one that was there before.
    """

    classes: list[str]
    images: dict[tuple[str, int], list[str]]
    skipped: list[tuple[str, str]]
    marks: dict[str, tuple[int, int]]


def shown(path: str) -> str:
    """A path that can be printed whatever bytes it is made of."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def look_through(root: Path) -> tuple[Found, set[str]]:
    """What lies below `root`, and which splits it has ("all": the images have to be dealt).

    Raises:
        EnvironmentFault: two folders for one split, fewer than two classes, or splits whose classes do not agree.
    """
    tops = _tops(root)
    found = _walk(root, tops)
    if len(found.classes) < MIN_CLASSES:
        where, names = next(iter(tops.values())), found.classes
        raise EnvironmentFault(
            f"{shown(str(where))} holds {len(names)} class folder(s) with images; at least two are needed",
            _way_out(where),
        )
    _check_agreement(tops, found)
    return found, set(tops)


def _folders(folder: Path) -> list[Path]:
    """Visible folders, in a fixed order; none where the folder cannot be read."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError:
        return []
    return sorted(inside, key=lambda path: os.fsencode(path.name))


def _tops(root: Path) -> dict[str, Path]:
    """Which folders hold the classes of which split. A folder without folders in it is no split: it may be a class, or unlabelled."""
    named: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for path in _folders(root):
        for split, names in SPLITS.items():
            if path.name.casefold() in names and _folders(path):
                named[split].append(path)
    for split, paths in named.items():
        if len(paths) > 1:
            both = " and ".join(shown(path.name) for path in paths)
            raise EnvironmentFault(
                f"{shown(str(root))} has {both}, and one of them can be {split}", "rename or move one of them"
            )
    if not named[TRAIN]:
        return {ALL: root}
    train, others = named[TRAIN][0], [*named[TEST], *named[HELD_OUT]]
    if not others:
        return {ALL: train}
    return {TRAIN: train, **dict(zip((TEST, HELD_OUT), others, strict=False))}


def _way_out(where: Path) -> str:
    inner = _folders(where)
    if len(inner) == 1 and len(_folders(inner[0])) >= MIN_CLASSES:
        return f"the classes may lie one folder deeper: --data {shown(str(inner[0]))}"
    return "put the images into one sub-folder per class, for example cats/ and dogs/"


def _files(
    folder: str, below: str, skipped: list[tuple[str, str]], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file below `folder`, named after `below`, in a fixed order, through links to folders but never into one that it lies in.

    Plain texts: a million objects of pathlib take a minute.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        skipped.append((below, f"a folder that cannot be read ({error.strerror})"))
        return
    for entry in inside:
        path = f"{below}/{entry.name}" if below else entry.name
        try:
            about = entry.stat()
        except OSError as error:
            skipped.append((path, "a link to nothing" if entry.is_symlink() else f"cannot be read ({error.strerror})"))
            continue
        if stat.S_ISDIR(about.st_mode):
            yield from _files(entry.path, path, skipped, (*above, real))
        elif stat.S_ISREG(about.st_mode):
            yield path, about
        else:
            skipped.append((path, "neither a file nor a folder"))


def _walk(root: Path, tops: dict[str, Path]) -> Found:
    """Classes are the folders inside the tops that hold a file named like an image."""
    left: list[tuple[str, str]] = []
    by_name: dict[tuple[str, str], list[str]] = {}
    marks: dict[str, tuple[int, int]] = {}
    starts = {name: "" if folder == root else f"{folder.name}/" for name, folder in tops.items()}
    before, top, name, hidden = "/", None, "", False  # of the folder that the last file was in: most are in the same
    for path, about in _files(str(root), "", left):
        folder, _, file = path.rpartition("/")
        if folder != before:
            before, hidden = folder, folder.startswith(".") or "/." in folder
            top = next((each for each, start in starts.items() if f"{folder}/".startswith(start)), None)
            name = "" if top is None else folder[len(starts[top]) :].partition("/")[0]
        if hidden or file.startswith("."):
            left.append((path, "hidden"))
        elif top is None or not name:  # a class folder, and a file in it
            left.append((path, "not inside a class folder"))
        elif file[file.rfind(".") :].lower() not in SUFFIXES:
            left.append((path, "not an image file by its name"))
        else:
            by_name.setdefault((top, name), []).append(path)
            marks[path] = (about.st_size, about.st_mtime_ns)
    classes = sorted({name for _, name in by_name})
    index = {name: label for label, name in enumerate(classes)}
    images = {(top, index[name]): paths for (top, name), paths in by_name.items()}
    empty = {
        path.name: path
        for top in tops.values()
        for path in _folders(top)
        if path.name not in index and path not in tops.values()
    }
    left += [(path.relative_to(root).as_posix(), EMPTY) for path in empty.values()]
    return Found(classes, images, sorted((shown(path), reason) for path, reason in left), marks)


def _check_agreement(tops: dict[str, Path], found: Found) -> None:
    """Images of classes that are never trained would be scored as mistakes."""
    if ALL in tops:
        return
    trained = {label for top, label in found.images if top == TRAIN}
    for split in (TEST, HELD_OUT):
        strange = [found.classes[label] for top, label in sorted(found.images) if top == split and label not in trained]
        if strange:
            names = ", ".join(shown(name) for name in strange[:SHOWN]) + (", ..." if len(strange) > SHOWN else "")
            raise EnvironmentFault(
                f"{shown(tops[split].name)} has {len(strange)} class(es) that {shown(tops[TRAIN].name)} has not: {names}",
                "give both the same class folders, or only one folder of classes",
            )


def _rank(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def deal(found: Found, tops: set[str]) -> dict[str, list[Item]]:
    """Images by split: as they lie, or by the hash of their path 70 : 15 : 15 in every class; without a held-out split half of test is."""
    splits: dict[str, list[Item]] = {TRAIN: [], TEST: [], HELD_OUT: []}
    for label in range(len(found.classes)):
        for split, items in _deal_class(found, label, tops).items():
            splits[split] += items
    return splits


def _deal_class(found: Found, label: int, tops: set[str]) -> dict[str, list[Item]]:
    def ranked(top: str) -> list[Item]:
        return [(path, label) for path in sorted(found.images.get((top, label), []), key=_rank)]

    if ALL not in tops:
        test = ranked(TEST)
        half = len(test) if HELD_OUT in tops else -(-len(test) // 2)
        return {TRAIN: ranked(TRAIN), TEST: test[:half], HELD_OUT: ranked(HELD_OUT) + test[half:]}
    items = ranked(ALL)
    tested = max(1, round(TEST_SHARE * len(items))) if len(items) > 1 else 0
    held = round(HELD_OUT_SHARE * len(items)) if len(items) > 2 else 0
    return {TEST: items[:tested], HELD_OUT: items[tested : tested + held], TRAIN: items[tested + held :]}


def stratified(items: list[Item], limit: int) -> list[Item]:
    """At most `limit` items, the same number of every class as far as they go, in an order that mixes classes."""
    turn: dict[int, int] = {}
    order = []
    for path, label in items:
        order.append((turn.get(label, 0), _rank(path), path, label))
        turn[label] = turn.get(label, 0) + 1
    return [(path, label) for _, _, path, label in sorted(order)[:limit]]
