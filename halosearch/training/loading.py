"""Batches for training and scoring: the pictures of a step and their augmentation are a function of (seed, epoch, index) alone."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.picture_kinds import Pictures
from halosearch.proxy.data.randaugment import randaugment, torchvision_transforms
from halosearch.training.recipe import ModelRecipe

ASPECT = (3 / 4, 4 / 3)
UNREADABLE_SHARE = 0.1
LEAST = 2
"""Pictures of a part: batch norm needs two."""


class Loaded(NamedTuple):
    """Images (N, 3, s, s) uint8, labels (N,) int64, and (name, reason) of what could not be read and is left out."""

    images: Tensor
    labels: Tensor
    unreadable: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """What an epoch's pictures are drawn by: number of pictures, images a step, seed, and how many parts a step has."""

    size: int
    batch: int
    seed: int
    parts: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; what is left over is in another epoch's order."""
        return max(1, self.size // self.batch)

    def order(self, epoch: int) -> np.ndarray:
        """All pictures in the epoch's order."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)

    def part(self, order: np.ndarray, step: int, part: int) -> list[tuple[int, int]]:
        """Indices of one of the equal parts of a step, and how often each was in the step before: a batch may be more than all pictures."""
        own = np.resize(order[step * self.batch : (step + 1) * self.batch], self.batch)
        again = np.arange(self.batch) // self.size
        return [
            (int(a), int(b)) for a, b in zip(*(np.split(each, self.parts)[part] for each in (own, again)), strict=True)
        ]


class TrainingPictures(Dataset[tuple[Tensor, int] | tuple[str, str]]):
    """Augmented pictures by (epoch, index); what cannot be read comes as (name, reason)."""

    def __init__(self, pictures: Pictures, recipe: ModelRecipe, image_size: int, seed: int) -> None:
        """Augmentation of a recipe at an image size.

        Raises:
            EnvironmentFault: RandAugment is asked for and torchvision is not there.
        """
        self.pictures, self.recipe, self.image_size, self.seed = pictures, recipe, image_size, seed
        if recipe.randaugment:
            randaugment(recipe.randaugment)

    def __len__(self) -> int:
        """Pictures of an epoch."""
        return len(self.pictures)

    def __getitem__(self, key: Any) -> tuple[Tensor, int] | tuple[str, str]:
        """The picture of (epoch, index, how often it was in the same step before)."""
        epoch, index, again = key
        try:
            image = self.pictures.picture(index)
        except Exception as error:  # noqa: BLE001  # decoders raise many kinds; the file is named and left out
            return self.pictures.name(index), f"{type(error).__name__}: {error}"
        rng = np.random.default_rng([self.seed, epoch, index, *([again] if again else [])])
        box, mirrored = random_box(rng, image.size, self.recipe.crop)
        image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
        if mirrored and self.recipe.flip:
            image = ImageOps.mirror(image)
        if self.recipe.randaugment:  # made here: a process that reads beside imports torchvision itself
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            image = randaugment(self.recipe.randaugment)(image)
        return to_tensor(image), self.pictures.label(index)


class ScoredPictures(Dataset[tuple[Tensor, int] | tuple[str, str]]):
    """The middle of every picture, resized."""

    def __init__(self, pictures: Pictures, test_crop: float, image_size: int) -> None:
        """`test_crop`: share of the shorter side that is looked at."""
        self.pictures, self.test_crop, self.image_size = pictures, test_crop, image_size

    def __len__(self) -> int:
        """How many."""
        return len(self.pictures)

    def __getitem__(self, index: Any) -> tuple[Tensor, int] | tuple[str, str]:
        """The picture of an index."""
        try:
            image = self.pictures.picture(index)
        except Exception as error:  # noqa: BLE001  # as above
            return self.pictures.name(index), f"{type(error).__name__}: {error}"
        side = self.test_crop * min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
        return to_tensor(image), self.pictures.label(index)


def random_box(
    rng: np.random.Generator, size: tuple[int, int], least: float
) -> tuple[tuple[float, float, float, float], bool]:
    """A box (left, top, right, bottom) in pixels with a share of the picture from `least` to 1 and an aspect of 3:4 to 4:3; mirrored?"""
    width, height = size
    area = rng.uniform(least, 1.0) * width * height
    aspect = float(np.exp(rng.uniform(*np.log(ASPECT))))
    w, h = min(float(width), np.sqrt(area * aspect)), min(float(height), np.sqrt(area / aspect))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return (left, top, left + w, top + h), bool(rng.random() < 0.5)


def mixing(recipe: ModelRecipe, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Torchvision's mixup, cutmix, or either in turn by lot; None where the recipe has neither.

    Raises:
        EnvironmentFault: torchvision cannot be imported.
    """
    if not (recipe.mixup or recipe.cutmix):
        return None
    transforms = torchvision_transforms()
    asked = ((transforms.MixUp, recipe.mixup), (transforms.CutMix, recipe.cutmix))
    kinds = [kind(alpha=alpha, num_classes=classes) for kind, alpha in asked if alpha]
    found: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    found = kinds[0] if len(kinds) == 1 else transforms.RandomChoice(kinds)
    return found


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) bytes."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def collate(items: Sequence[tuple[Any, Any]]) -> Loaded:
    """A batch of what could be read."""
    read = [(image, label) for image, label in items if isinstance(image, Tensor)]
    left = tuple((str(name), str(reason)) for name, reason in items if not isinstance(name, Tensor))
    if not read:
        return Loaded(torch.zeros(0, 3, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), left)
    images = torch.stack([image for image, _ in read])
    return Loaded(images, torch.tensor([label for _, label in read], dtype=torch.int64), left)


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """(epoch, index, how often before in the step) of every picture, a list for each part of each step from `first` on."""

    place: Place
    epoch: int
    first: int
    parts: tuple[int, ...]

    def __iter__(self) -> Iterator[list[Any]]:
        """In order: the parts of a step, then those of the next."""
        order = self.place.order(self.epoch)
        for step in range(self.first, self.place.steps):
            for part in self.parts:
                yield [(self.epoch, index, again) for index, again in self.place.part(order, step, part)]

    def __len__(self) -> int:
        """Lists."""
        return (self.place.steps - self.first) * len(self.parts)


@dataclass(frozen=True, slots=True)
class ScoreKeys:
    """The indices that a process scores, by `batch`: every one is scored by exactly one process."""

    size: int
    rank: int
    world: int
    batch: int

    def __iter__(self) -> Iterator[list[Any]]:
        """In order."""
        own = range(self.rank, self.size, self.world)
        for first in range(0, len(own), self.batch):
            yield list(own[first : first + self.batch])

    def __len__(self) -> int:
        """Batches."""
        return -(-len(range(self.rank, self.size, self.world)) // self.batch)


class ReadersLostError(Exception):
    """A process that reads pictures ended; `scoring`: those to score."""

    def __init__(self, words: str, *, scoring: bool) -> None:
        super().__init__(words)
        self.scoring = scoring


def loaded(data: Dataset[Any], batches: EpochKeys | ScoreKeys, workers: int, *, pinned: bool) -> Iterator[Loaded]:
    """Batches of these keys, read by so many processes beside (0: in this one).

    Raises:
        ReadersLostError: one of them ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not by every reader of every epoch
    more: dict[str, Any] = {
        "multiprocessing_context": context,
        "prefetch_factor": 2,
        "worker_init_fn": _undisturbed,
    }
    found = DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pinned,
        **(more if workers else {}),
    )
    try:
        yield from found
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ReadersLostError(str(error).splitlines()[0], scoring=isinstance(batches, ScoreKeys)) from error


def _undisturbed(worker: int) -> None:
    """What is meant for the training reaches its readers, too: they end with it, not before."""
    del worker
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def check_batch(batch: int, parts: int) -> None:
    """Refuse a batch that does not divide into the parts of a step.

    Raises:
        EnvironmentFault: it does not.
    """
    if batch // parts < LEAST:
        raise EnvironmentFault(
            f"a batch of {batch} in {parts} parts leaves {batch // parts} picture(s) a part, and batch norm needs {LEAST}",
            f"--batch {LEAST * parts}",
        )
    if batch % parts:
        raise EnvironmentFault(
            f"a batch of {batch} does not divide into {parts} parts (processes times --accumulate)",
            f"--batch {parts * max(1, round(batch / parts))}",
        )


def check_readable(unreadable: Mapping[str, str], size: int, which: str = "") -> None:
    """Refuse to go on where a good part of the pictures cannot be read: the disk may be gone.

    Raises:
        EnvironmentFault: more than a tenth of them, and more than one.
    """
    if len(unreadable) > max(1, UNREADABLE_SHARE * size):
        name, reason = next(iter(unreadable.items()))
        raise EnvironmentFault(
            f"{len(unreadable):,} pictures {which}cannot be read, the first: {name} ({reason})",
            "see that the data is all there; the same line goes on from the last checkpoint",
        )
