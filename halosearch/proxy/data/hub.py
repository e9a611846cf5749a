"""Pictures that the package datasets reads: parquet files, and data sets of the Hugging Face hub by name (`hf:NAME`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from halosearch.errors import EnvironmentFault
from halosearch.families.foreign import import_optional
from halosearch.proxy.data.decoding import DEPTHS, in_colours

PREFIX = "hf:"
SCORED = ("validation", "valid", "val", "test")
IMAGES, CLASSES = ("image", "img", "jpg", "png"), ("label", "labels", "fine_label", "class", "cls")


@dataclass(slots=True)
class RowPictures:
    """Rows of a table, with their labels beside: a picture is not decoded for its class. `bits`: see `FilePictures`."""

    table: Any
    image: str
    labels: np.ndarray
    bits: int = DEPTHS[-1]

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"row {index}"

    def label(self, index: int) -> int:
        """Its class."""
        return int(self.labels[index])

    def picture(self, index: int) -> Image.Image:
        """Decoded now."""
        return in_colours(self.stored(index), self.bits)

    def stored(self, index: int) -> Image.Image:
        """As the table has it."""
        found: Image.Image = self.table[index][self.image]
        return found


def is_hub(data: str) -> bool:
    """A name of the hub, or a folder of parquet files; one with other folders is a folder of classes, whatever lies beside them."""
    if data.startswith(PREFIX):
        return True
    root = Path(data).expanduser()
    if root.is_dir() and any(each.is_dir() and each.name != "data" for each in root.glob("[!.]*")):
        return False
    return root.is_dir() and any(any(folder.glob("*.parquet")) for folder in (root, root / "data"))


def open_hub(data: str) -> tuple[RowPictures, RowPictures, tuple[str, ...], str, str]:
    """Training pictures, those of the validation split (or of the test split without one), names of classes, a sentence, a mark of the whole.

    Raises:
        EnvironmentFault: datasets is missing, nothing of that name can be loaded, or it has no pictures with classes.
    """
    library = import_optional("datasets", "parquet files and names of the hub are read by it")
    name = data.removeprefix(PREFIX) if data.startswith(PREFIX) else str(Path(data).expanduser())
    try:
        found = library.load_dataset(name)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFault(
            f"{Path(name).name} cannot be loaded: {line}", "a folder of parquet files, or hf:OWNER/NAME with a network"
        ) from error
    scored = next((split for split in SCORED if split in found), None)
    if "train" not in found or scored is None:
        raise EnvironmentFault(
            f"{Path(name).name} has the splits {', '.join(found)}",
            "it needs train and one of validation or test: train-*.parquet, test-*.parquet",
        )
    features = found["train"].features
    image = next((key for key in IMAGES if key in features), None)
    label = next((key for key in CLASSES if key in features), None)
    if image is None or label is None:
        raise EnvironmentFault(
            f"{Path(name).name} has the columns {', '.join(features)}", "columns image and label are needed"
        )
    parts = [found["train"], found[scored]]
    names: list[str] | None
    if getattr(features[label], "dtype", "") == "string":
        names = sorted({str(each) for part in parts for each in part[label] if each is not None})
        numbers = {each: number for number, each in enumerate(names)}
        labels: list[list[Any]] = [[numbers.get(each) for each in part[label]] for part in parts]
    else:
        labels = [list(part[label]) for part in parts]
        names = getattr(features[label], "names", None)
    if any(not isinstance(each, int) for every in labels for each in every):
        raise EnvironmentFault(
            f"{Path(name).name} has rows whose {label} is no whole number and no word", "every picture needs a class"
        )
    if names is None:  # plain numbers
        names = [str(n) for n in range(1 + max(labels[0], default=0))]
    if not isinstance(features[image], library.Image):  # bytes without a note of what they are
        parts = [each.cast_column(image, library.Image()) for each in parts]
    train, test = (RowPictures(part, image, np.array(own, np.int64)) for part, own in zip(parts, labels, strict=True))
    sizes = [(part.num_rows, part.data.nbytes, str(part.features)) for part in (found["train"], found[scored])]
    mark = hashlib.sha256(repr((name if data.startswith(PREFIX) else "", sizes)).encode())
    mark.update(train.labels.tobytes() + test.labels.tobytes())
    return train, test, tuple(names), f"{Path(name).name} by datasets", mark.hexdigest()
