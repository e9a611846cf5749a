"""RandAugment (arXiv:1909.13719), as torchvision has it: of pictures whose labels, or targets, do not move with them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halosearch.errors import EnvironmentFault
from halosearch.families.foreign import import_optional
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.data.device_arrays import DeviceImages

OPERATIONS, BINS = 2, 32
"""Operations of a picture; magnitudes are from 0 to 31, as in the paper's table."""
STREAM = 1
"""Of the random numbers of (key, id); crops read stream 0."""


def torchvision_transforms() -> Any:
    """The module torchvision.transforms.v2.

    Raises:
        EnvironmentFault: torchvision is not installed or cannot be imported.
    """
    return import_optional("torchvision.transforms.v2", "RandAugment, mixup and cutmix come from it; or set them to 0")


@cache
def randaugment(magnitude: int) -> Any:
    """Torchvision's RandAugment of two operations, made once a process.

    Raises:
        EnvironmentFault: torchvision cannot be imported.
    """
    return torchvision_transforms().RandAugment(OPERATIONS, magnitude, num_magnitude_bins=BINS)


def augmented(data: Dataset, magnitude: int) -> Dataset:
    """The dataset with RandAugment behind its crops; targets are those of what comes out of it. Nothing changes at magnitude 0.

    Raises:
        EnvironmentFault: scenes, whose targets say where things are before they are moved; or torchvision cannot be imported.
    """
    if not magnitude:
        return data
    if isinstance(data, DeviceImages):
        return _OnDevice(data, randaugment(magnitude))
    if not isinstance(data, ArrayImages):
        raise EnvironmentFault(
            "RandAugment moves pictures away from what scenes say of them", "--data, a folder of pictures"
        )
    return _InMemory(data, randaugment(magnitude))


class _InMemory(ArrayImages):
    """The same images and memory as another dataset, augmented one by one."""

    def __init__(self, images: ArrayImages, transform: Any) -> None:
        self.__dict__.update(images.__dict__)
        self._transform = transform

    def _image(self, split: str, index: int, image_size: int, augment_key: tuple[int, int] | None) -> np.ndarray:
        image = super()._image(split, index, image_size, augment_key)
        if augment_key is None:
            return image
        found: np.ndarray = _transformed(self._transform, torch.from_numpy(image), augment_key, index).numpy()
        return found


class _OnDevice(DeviceImages):
    """The same, on a device."""

    def __init__(self, images: DeviceImages, transform: Any) -> None:
        self.__dict__.update(images.__dict__)
        self._transform = transform

    def _resized_part(self, split: str, ids: list[int], image_size: int, key: tuple[int, int] | None = None) -> Tensor:
        images = super()._resized_part(split, ids, image_size, key)
        if key is None:
            return images
        return torch.stack(
            [_transformed(self._transform, image, key, index) for image, index in zip(images, ids, strict=True)]
        )


def _transformed(transform: Any, image: Tensor, key: tuple[int, int], index: int) -> Tensor:
    """A function of (key, id) alone; torch's own random numbers, which the transform reads on the CPU, are left as they were."""
    stream = np.random.Generator(np.random.Philox(key=list(key), counter=[0, 0, STREAM, index]))
    own = torch.default_generator
    before = own.get_state()
    try:
        own.manual_seed(int(stream.integers(2**62)))
        found: Tensor = transform(image)
    finally:
        own.set_state(before)
    return found
