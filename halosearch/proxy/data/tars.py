"""Pictures inside tar files, read where they lie: ILSVRC-2012's archives as they are downloaded, and WebDataset's shards.

Tars are indexed once by their headers (offset and size of every member), and a picture is read by its place: any order, any process.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.decoding import DEPTHS, in_colours
from halosearch.proxy.data.folder_layout import SPLITS, SUFFIXES, shown
from halosearch.proxy.data.names import PackedNames

TRAIN_TAR, VAL_TAR, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
MOST_CLASSES = 1_000_000
LABELS = (".cls", ".json")
"""Where a shard's sample says its class: a number as text, or JSON with `label`, `class` or `cls`."""
JSON_KEYS = ("label", "class", "cls")


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar: its name, where its bytes begin, how many they are."""

    name: str
    offset: int
    size: int


class TarPictures:
    """Pictures by (tar, offset, size) with labels."""

    def __init__(self, tars: Sequence[Path], members: Sequence[tuple[int, Member]], labels: Sequence[int]) -> None:
        """`members`: the number of the tar, and the member."""
        self._tars, self._names = list(tars), PackedNames([each.name for _, each in members])
        self._places = np.array([(n, each.offset, each.size) for n, each in members], np.int64).reshape(-1, 3)
        self.labels = np.array(labels, np.int32)
        self.bits = DEPTHS[-1]

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def name(self, index: int) -> str:
        """The tar and the member."""
        return shown(f"{self._tars[self._places[index, 0]].name}:{self._names[index]}")

    def label(self, index: int) -> int:
        """Its class."""
        return int(self.labels[index])

    def picture(self, index: int) -> Image.Image:
        """Read now."""
        with self.stored(index) as image:
            return in_colours(image, self.bits)

    def stored(self, index: int) -> Image.Image:
        """Opened, not decoded yet."""
        return Image.open(io.BytesIO(self.bytes_of(index)))

    def mark(self) -> bytes:
        """Changes with names, places and labels of the members."""
        digest = hashlib.sha256(self._places.tobytes() + self.labels.tobytes())
        for index in range(len(self)):
            digest.update(self._names[index].encode(errors="surrogateescape") + b"\n")
        return digest.digest()

    def bytes_of(self, index: int) -> bytes:
        """The member's bytes."""
        number, offset, size = (int(each) for each in self._places[index])
        with self._tars[number].open("rb") as file:
            return os.pread(file.fileno(), size, offset)


def members_of(file: BinaryIO, start: int = 0) -> Iterator[Member]:
    """Regular files of a tar that begins at `start` of an open file, by their headers alone."""
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]  # a million headers are not kept
            if info.isreg():
                yield Member(info.name, info.offset_data, info.size)
        end = os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset)
    if end.strip(b"\0"):  # tarfile takes a damaged header for the end
        raise tarfile.ReadError(f"the header at byte {tar.offset:,} is damaged")


def is_ilsvrc(root: Path) -> bool:
    """Whether the folder holds ILSVRC-2012's training archive."""
    return (root / TRAIN_TAR).is_file()


def open_ilsvrc(root: Path) -> tuple[TarPictures, TarPictures, tuple[str, ...], str]:
    """Training and validation pictures, WordNet ids of the classes in their order, a mark of the whole.

    Raises:
        EnvironmentFault: an archive is missing or broken.
    """
    for name in (VAL_TAR, DEVKIT):
        if not (root / name).is_file():
            raise EnvironmentFault(
                f"{shown(root.name)} has {TRAIN_TAR} and no {name}",
                "labels of the validation pictures are in the devkit; fetch all three",
            )
    try:
        train, classes = _nested(root / TRAIN_TAR)
        index = {name: label for label, name in enumerate(classes)}
        with (root / VAL_TAR).open("rb") as file:
            members = sorted((each for each in members_of(file) if _is_image(each.name)), key=lambda each: each.name)
        ids, truth = _devkit(root / DEVKIT)
        labels = [index[ids[number]] for number in truth]
    except (tarfile.TarError, EOFError, OSError, KeyError, ValueError) as error:
        raise EnvironmentFault(
            f"the archives of {shown(root.name)} cannot be read: {error}", "fetch them again"
        ) from error
    if len(members) != len(labels):
        raise EnvironmentFault(
            f"{VAL_TAR} has {len(members):,} pictures and the devkit {len(labels):,} labels", "fetch both again"
        )
    val = TarPictures([root / VAL_TAR], [(0, each) for each in members], labels)
    return train, val, tuple(classes), mark_of([root / TRAIN_TAR, root / VAL_TAR], train, val)


def _nested(path: Path) -> tuple[TarPictures, list[str]]:
    """The training archive: a tar of one tar for every class."""
    found: list[tuple[str, Member]] = []
    with path.open("rb") as file:
        for outer in list(members_of(file)):
            if outer.name.endswith(".tar"):
                name = Path(outer.name).stem
                found += [(name, each) for each in members_of(file, outer.offset) if _is_image(each.name)]
    classes = sorted({name for name, _ in found})
    index = {name: label for label, name in enumerate(classes)}
    return TarPictures([path], [(0, each) for _, each in found], [index[name] for name, _ in found]), classes


def _devkit(path: Path) -> tuple[dict[int, str], list[int]]:
    """WordNet ids by ILSVRC number, and the number of every validation picture in the order of its name."""
    from scipy.io import loadmat

    with tarfile.open(path) as tar:
        inside = {name.partition("/")[2]: name for name in tar.getnames()}
        meta, truth = (tar.extractfile(inside[name]) for name in (META, TRUTH))
        assert meta is not None
        assert truth is not None
        synsets = loadmat(io.BytesIO(meta.read()), squeeze_me=True)["synsets"]
        numbers = [int(line) for line in truth.read().split()]
    return {int(row[0]): str(row[1]) for row in synsets}, numbers


def shards_of(root: Path) -> dict[str, list[Path]]:
    """Shards by split, told by the beginning of their names (train-0000.tar, val-0000.tar) or folders; without such names training's.

    None where the folder holds other folders, too: they are its classes, and the tar is what they were unpacked from.
    """
    found: dict[str, list[Path]] = {TRAIN: [], TEST: [], HELD_OUT: []}
    inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    named = [path for path in inner if any(path.name.casefold() in names for names in SPLITS.values())]
    paths = sorted([*root.glob("*.tar"), *(tar for path in named for tar in path.glob("*.tar"))])
    if any(not any(path.glob("*.tar")) for path in inner):
        return found
    for path in paths:
        words = re.split(r"[^a-z]+", f"{path.parent.name if path.parent != root else ''}-{path.name}".casefold())
        split = next((split for split, names in SPLITS.items() if any(word in names for word in words)), TRAIN)
        found[split].append(path)
    return found


def open_shards(paths: Sequence[Path]) -> tuple[TarPictures, int]:
    """The samples of WebDataset's shards, and how many have no picture or no class.

    Raises:
        EnvironmentFault: a shard is no tar.
    """
    members: list[tuple[int, Member]] = []
    labels: list[int] = []
    lost = 0
    for number, path in enumerate(paths):
        try:
            with path.open("rb") as file:
                samples: dict[str, dict[str, Member]] = {}
                for each in members_of(file):
                    key, _, kind = each.name.rpartition("/")[2].partition(".")
                    samples.setdefault(f"{each.name.rpartition('/')[0]}/{key}", {})[f".{kind.casefold()}"] = each
                for parts in samples.values():
                    picture = next((each for kind, each in parts.items() if kind in SUFFIXES), None)
                    label = _label_of(parts, file)
                    if picture is None or label is None:
                        lost += 1
                        continue
                    members.append((number, picture))
                    labels.append(label)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise EnvironmentFault(
                f"{shown(path.name)} cannot be read as a tar: {error}", "fetch it again, or remove it"
            ) from error
    return TarPictures(paths, members, labels), lost


def _label_of(parts: dict[str, Member], file: BinaryIO) -> int | None:
    for kind in LABELS:
        if kind in parts:
            text = os.pread(file.fileno(), parts[kind].size, parts[kind].offset)
            try:
                if kind == ".cls":
                    return _class(text)
                said = json.loads(text)
                return next((_class(said[key]) for key in JSON_KEYS if key in said), None)
            except (ValueError, TypeError):
                return None
    return None


def _class(value: Any) -> int | None:
    """A class's number; None where it can be none."""
    number = int(value)
    return number if 0 <= number < MOST_CLASSES else None


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].casefold() in SUFFIXES


SAMPLES, SAMPLE_BYTES = 64, 16_384
"""Pieces of every archive whose bytes go into its mark, and how long each is."""


def mark_of(paths: Sequence[Path], *splits: TarPictures) -> str:
    """Changes with names, sizes, members and labels, and with pixels where they meet a sample of the bytes; a copy has the same."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{shown(path.name)} {size}\n".encode())
        with path.open("rb") as file:
            for start in np.linspace(0, max(0, size - SAMPLE_BYTES), SAMPLES).astype(np.int64).tolist():
                digest.update(os.pread(file.fileno(), SAMPLE_BYTES, start))
    for each in splits:
        digest.update(each.mark())
    return digest.hexdigest()
