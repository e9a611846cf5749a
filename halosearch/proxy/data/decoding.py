"""Image files as bytes: upright, their middle square, any mode that Pillow reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from halosearch.container import cores

AT_ONCE, MOST_THREADS = 64, 16
"""Images that are decoded together, and by how many threads at most."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that grey values of cameras, scanners and detectors have; files keep all but the first in 16."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (side, side, 3) uint8, the shorter side as it was, and the largest value of one stored in 16 bits (else None)."""

    pixels: np.ndarray
    native: int
    top: int | None


def read_image(file: Path | BinaryIO | Image.Image, side: int, bits: int = DEPTHS[-1]) -> Picture:
    """A picture's middle square, upright. `bits`: what a value stored in 16 bits uses of them; that much becomes white.

    Raises:
        Exception: the file is no image that can be read whole, or its pixels are not bytes or 16 bits; decoders raise many kinds.
    """
    with file if isinstance(file, Image.Image) else Image.open(file) as image:
        turned = ImageOps.exif_transpose(image)
        top = int(np.asarray(turned).max()) if turned.mode.startswith("I") else None
        upright = _eight_bits(turned, bits).convert("RGB")
        native = min(upright.size)
        method = Image.Resampling.BOX if native > 2 * side else Image.Resampling.BILINEAR
        return Picture(np.asarray(ImageOps.fit(upright, (side, side), method)), native, top)


def in_colours(image: Image.Image, bits: int = DEPTHS[-1]) -> Image.Image:
    """A picture in RGB, upright. `bits`: see `read_image`."""
    return _eight_bits(ImageOps.exif_transpose(image), bits).convert("RGB")


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    """Grey values stored in 16 bits as 8-bit grey; Pillow's own conversion would clip them to white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() >= 2 ** DEPTHS[-1]:
            raise ValueError("pixels are outside 16 bits")
        return Image.fromarray(np.minimum(values * 255 // (2**bits - 1), 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return image


@dataclass(frozen=True, slots=True)
class Depth:
    """Of a folder's pictures stored in 16 bits: how many, their largest value, the bits that it needs.

    `alone`: the one file without which fewer would do (`others`), where there is one.
    """

    images: int
    top: int
    bits: int
    alone: str | None
    others: int


def depth_of(tops: Mapping[str, int]) -> Depth | None:
    """From the largest value of every picture stored in 16 bits; None without any."""
    if not tops:
        return None
    path = max(tops, key=lambda each: tops[each])
    bits, others = _bits(tops.values()), _bits(top for each, top in tops.items() if each != path)
    return Depth(len(tops), tops[path], bits, path if others < bits and len(tops) > 1 else None, others)


def _bits(tops: Iterable[int]) -> int:
    """The smallest usual depth that holds them."""
    top = max(tops, default=0)
    return next(depth for depth in DEPTHS if top < 2**depth)


Opened = Callable[[str], Path | BinaryIO | Image.Image]
"""From a picture's name to what can be decoded."""


def read_all(opened: Opened, names: Sequence[str], side: int, bits: int = DEPTHS[-1]) -> Iterator[Picture | Exception]:
    """Every picture, or what its decoder raised; in order, decoded on all cores."""

    def read(name: str) -> Picture | Exception:
        try:
            return read_image(opened(name), side, bits)
        except Exception as error:  # noqa: BLE001  # decoders raise whatever they like for one file of many
            return error

    with ThreadPoolExecutor(min(MOST_THREADS, cores())) as pool:
        for first in range(0, len(names), AT_ONCE):
            yield from pool.map(read, names[first : first + AT_ONCE])
