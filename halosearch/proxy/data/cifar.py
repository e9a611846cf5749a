"""CIFAR-10 and CIFAR-100 as their authors publish them: binary files, or pickled batches (read without running code).

Layouts: https://www.cs.toronto.edu/~kriz/cifar.html. A record is 3,072 bytes of pixels (red, green, blue planes of 32x32)
behind one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine).
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN, DataReport

PIXELS = 3 * 32 * 32
TEN_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = {
    "CIFAR-10 binary": (tuple(f"{name}.bin" for name in TEN_TRAIN), "test_batch.bin", 10),
    "CIFAR-100 binary": (("train.bin",), "test.bin", 100),
    "CIFAR-10 pickled": (TEN_TRAIN, "test_batch", 10),
    "CIFAR-100 pickled": (("train",), "test", 100),
}
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    EOFError,
    pickle.UnpicklingError,
)
"""What a damaged file may raise, in numpy's and pickle's documentation."""


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every other class."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"refused {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def layout_of(root: Path) -> str | None:
    """Which layout the folder's files have, or None."""
    for name, (train, test, _) in LAYOUTS.items():
        if (root / test).is_file() and any((root / file).is_file() for file in train):
            return name
    return None


def open_cifar(root: Path, train_images: int, test_images: int, *, dense: bool = False) -> ArrayImages:
    """Read the folder's batches; half of the test file is held out from the search.

    Raises:
        EnvironmentFault: no readable training batch or no readable test batch.
    """
    layout = layout_of(root)
    if layout is None:
        raise EnvironmentFault(
            f"{root} holds no CIFAR files",
            "it should hold data_batch_1.bin and test_batch.bin, or train.bin and test.bin",
        )
    train_files, test_file, classes = LAYOUTS[layout]
    unreadable: list[tuple[str, str]] = []
    parts = []
    for file in (*train_files, test_file):
        try:
            parts.append((file == test_file, *_read(root / file, classes, pickled=layout.endswith("pickled"))))
        except UNREADABLE as error:
            unreadable.append((file, f"{type(error).__name__}: {error}".replace(str(root), "")))
    train, test = ([part[1:] for part in parts if part[0] is flag] for flag in (False, True))
    if not train or not test:
        name, reason = unreadable[-1] if not test else unreadable[0]
        raise EnvironmentFault(f"{root}: {name} could not be read ({reason})", "fetch the file again")
    images, labels = (np.concatenate([part[i] for part in train]) for i in (0, 1))
    half = -(-len(test[0][1]) // 2)
    kept, tested = min(train_images, len(labels)), min(test_images, half)
    held = min(test_images, len(test[0][1]) - half)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in (images, labels, *test[0])))
    report = DataReport(
        f"{layout} files of {root.name}",
        {TRAIN: kept, TEST: tested, HELD_OUT: held},
        32,
        tuple(unreadable),
        unused=len(labels) + len(test[0][1]) - kept - tested - held,
        fingerprint=digest.hexdigest(),
    )
    return ArrayImages(
        {TRAIN: images[:kept], TEST: test[0][0][:tested], HELD_OUT: test[0][0][half : half + held]},
        {TRAIN: labels[:kept], TEST: test[0][1][:tested], HELD_OUT: test[0][1][half : half + held]},
        classes,
        report,
        dense=dense,
    )


def _read(path: Path, classes: int, *, pickled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) of one file."""
    raw = path.read_bytes()
    if pickled:
        batch = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        flat, labels = batch[b"data"], np.array(batch[b"labels" if classes == 10 else b"fine_labels"], dtype=np.int64)
    else:
        width = PIXELS + (1 if classes == 10 else 2)
        if not raw or len(raw) % width:
            raise ValueError(f"{len(raw)} bytes are no whole number of {width}-byte records")
        records = np.frombuffer(raw, np.uint8).reshape(-1, width)
        flat, labels = records[:, -PIXELS:], records[:, -PIXELS - 1].astype(np.int64)
    if (
        flat.shape[1:] != (PIXELS,)
        or len(flat) != len(labels)
        or labels.min(initial=0) < 0
        or labels.max(initial=0) >= classes
    ):
        raise ValueError("labels or pixels are out of range")
    return np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
