"""Pictures by index, whatever they lie in: files, memory, any Dataset; those of archives and tables are where these are opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from halosearch.proxy.data.decoding import DEPTHS, in_colours
from halosearch.proxy.data.folder_layout import shown
from halosearch.proxy.data.names import PackedNames


class Pictures(Protocol):
    """One split: pictures by index."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def name(self, index: int) -> str:
        """What the picture is called when it cannot be read."""
        ...

    def label(self, index: int) -> int:
        """Its class."""
        ...

    def picture(self, index: int) -> Image.Image:
        """The picture in RGB; raises whatever its decoder raises."""
        ...


class StoredPictures(Pictures, Protocol):
    """Pictures whose greys may lie in 16 bits of which a camera used fewer."""

    bits: int

    def stored(self, index: int) -> Image.Image:
        """As it lies there, before colours are made of it."""
        ...


@dataclass(slots=True)
class FilePictures:
    """Files below a folder. `bits`: what greys stored in 16 bits use of them."""

    root: Path
    names: PackedNames
    labels: np.ndarray
    bits: int = DEPTHS[-1]

    def __len__(self) -> int:
        """How many."""
        return len(self.names)

    def name(self, index: int) -> str:
        """Its path below the folder."""
        return shown(self.names[index])

    def label(self, index: int) -> int:
        """Its class."""
        return int(self.labels[index])

    def picture(self, index: int) -> Image.Image:
        """Decoded now."""
        with self.stored(index) as image:
            return in_colours(image, self.bits)

    def stored(self, index: int) -> Image.Image:
        """As it lies there, not decoded yet."""
        return Image.open(self.root / self.names[index])


@dataclass(frozen=True, slots=True)
class ArrayPictures:
    """Pixels (N, S, S, 3) uint8 in memory."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"image {index}"

    def label(self, index: int) -> int:
        """Its class."""
        return int(self.labels[index])

    def picture(self, index: int) -> Image.Image:
        """From memory."""
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True, slots=True)
class AnyPictures:
    """Any map-style Dataset of (image, label): PIL images, or arrays and tensors of bytes (H, W, 3) or (3, H, W)."""

    data: Any

    def __len__(self) -> int:
        """How many."""
        return len(self.data)

    def name(self, index: int) -> str:
        """Its number."""
        return f"item {index}"

    def label(self, index: int) -> int:
        """Its class."""
        return int(self.data[index][1])

    def picture(self, index: int) -> Image.Image:
        """As a picture."""
        image = self.data[index][0]
        if isinstance(image, Image.Image):
            return in_colours(image)
        pixels = np.asarray(image)
        if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[-1] != 3:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
            raise ValueError(f"an image of {pixels.dtype} {pixels.shape} is no bytes of three colours")
        return Image.fromarray(np.ascontiguousarray(pixels))
