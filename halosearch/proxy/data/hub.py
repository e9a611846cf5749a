"""Pictures that the package datasets reads: parquet files, and data sets of the Hugging Face hub by name (`hf:NAME`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halosearch.errors import EnvironmentFault
from halosearch.families.foreign import import_optional

PREFIX = "hf:"
SCORED = ("validation", "valid", "val", "test")
IMAGES, CLASSES = ("image", "img", "jpg", "png"), ("label", "labels", "fine_label", "class", "cls")


@dataclass(frozen=True, slots=True)
class HubData:
    """Map-style data sets of (image, label), names of classes, a sentence, a mark of the whole."""

    train: Rows
    test: Rows
    classes: tuple[str, ...]
    description: str
    mark: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table as (image, label)."""

    table: Any
    image: str
    label: str

    def __len__(self) -> int:
        """How many."""
        return len(self.table)

    def labels(self) -> np.ndarray:
        """Every row's class."""
        return np.array(self.table[self.label], np.int64)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The picture and its class."""
        row = self.table[index]
        return row[self.image], int(row[self.label])


def is_hub(data: str) -> bool:
    """A name of the hub, or a folder of parquet files; one with other folders is a folder of classes, whatever lies beside them."""
    if data.startswith(PREFIX):
        return True
    root = Path(data).expanduser()
    if root.is_dir() and any(each.is_dir() and each.name != "data" for each in root.glob("[!.]*")):
        return False
    return root.is_dir() and any(any(folder.glob("*.parquet")) for folder in (root, root / "data"))


def open_hub(data: str) -> HubData:
    """Training pictures, and those of the validation split, or of the test split without one.

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
    names = getattr(features[label], "names", None)
    if names is None:
        names = [str(n) for n in range(1 + max(found["train"][label]))]
    parts = [found["train"], found[scored]]
    if not isinstance(features[image], library.Image):  # bytes without a note of what they are
        parts = [each.cast_column(image, library.Image()) for each in parts]
    sizes = [(part.num_rows, part.data.nbytes, str(part.features)) for part in (found["train"], found[scored])]
    mark = hashlib.sha256(repr((name if data.startswith(PREFIX) else "", sizes)).encode()).hexdigest()
    return HubData(
        Rows(parts[0], image, label), Rows(parts[1], image, label), tuple(names), f"{Path(name).name} by datasets", mark
    )
