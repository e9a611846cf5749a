"""How many pictures does one core read and augment in a second, and how fast does a large folder open?

    python -m benchmarks.pictures [--count 48] [--rounds 7] [--names 1300000]

JPEGs of 500x375 pixels (about 110 kB each, as ImageNet's), cropped, mirrored and resized to 224 and 384 pixels: this package's reader, and
torchvision's ImageFolder with RandomResizedCrop and RandomHorizontalFlip (of its transforms v2) where torchvision can be imported. Both
read the same files in turn in every round, in one process and one thread; the ratio is of the same round. Then a folder of so many empty
files in 1,000 classes is opened, in a process of its own: its seconds and its largest memory.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.intervals import interval
from halosearch.errors import HalosearchError
from halosearch.families.foreign import import_optional
from halosearch.proxy.data.pictures import open_pictures
from halosearch.training.loading import TrainingPictures
from halosearch.training.recipe import ModelRecipe

SIZES = (224, 384)
CROP = 0.08
OPEN = """
import resource, sys, time
from halosearch.proxy.data.pictures import open_pictures
began = time.perf_counter()
source = open_pictures(sys.argv[1])
print(len(source.train), time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def fill(root, count):
    """Photograph-like JPEGs: smooth shapes with fine grain."""
    rng = np.random.default_rng(0)
    for n in range(count):
        folder = root / ("train" if n % 2 else "val") / f"class{(n // 2) % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        grain = np.asarray(smooth, float) + rng.normal(0, 17, (375, 500, 1))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"{n}.jpg", quality=90)


def readers(root, size):
    """From a number to a tensor, by package."""
    source = open_pictures(str(root))
    own = TrainingPictures(source.train, ModelRecipe(crop=CROP), size, 0)
    found = {"halosearch": lambda n: own[0, n % len(own), 0]}
    try:
        transforms, datasets = import_optional("torchvision.transforms.v2"), import_optional("torchvision.datasets")
    except HalosearchError as error:
        return found, str(error)
    theirs = datasets.ImageFolder(
        str(root / "train"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(size, (CROP, 1.0), antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        ),
    )
    return found | {"torchvision": lambda n: theirs[n % len(theirs)]}, ""


def open_many(names):
    """Images found, seconds and MiB of opening a folder of so many empty files."""
    with tempfile.TemporaryDirectory() as folder:
        for label in range(1000):
            for split, count in (("train", names // 1000), ("val", 1)):
                inside = Path(folder) / split / f"n{label:08}"
                inside.mkdir(parents=True)
                for n in range(count):
                    (inside / f"n{label:08}_{n}.JPEG").touch()
        done = subprocess.run([sys.executable, "-c", OPEN, folder], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--names", type=int, default=1_300_000)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    where = provenance(torch.device("cpu"))
    found, missing, rows = {}, "", []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root, 2 * arguments.count)
        size_kb = statistics.mean(path.stat().st_size for path in root.glob("*/*/*.jpg")) / 1000
        for side in SIZES:
            by_name, missing = readers(root, side)
            rates = {name: [] for name in by_name}
            for number in range(arguments.rounds + 1):
                order = list(by_name)
                random.Random(number).shuffle(order)
                for name in order:
                    began = time.perf_counter()
                    for n in range(arguments.count):
                        by_name[name](n)
                    rates[name].append(arguments.count / (time.perf_counter() - began))
            rates = {name: each[1:] for name, each in rates.items()}  # the first round warms caches up
            for name, each in rates.items():
                ratio = interval([own / other for own, other in zip(each, rates["halosearch"], strict=True)])
                rows.append(
                    [
                        side,
                        name,
                        f"{statistics.median(each):.0f}",
                        f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
                    ]
                )
            found[str(side)] = rates
    count, seconds, memory = open_many(arguments.names)
    page = "\n\n".join(
        [
            "# Reading pictures",
            f"JPEGs of 500x375 pixels, {size_kb:.0f} kB on average, in one process and one thread.",
            table(["pixels", "reader", "pictures a second", "ratio to halosearch's in the same rounds"], rows),
            f"A folder of {count:,.0f} files in 1,000 classes opens in **{seconds:.1f} s**, with at most **{memory:.0f} MiB** of memory in all.",
            *([f"torchvision is not here: {missing}"] if missing else []),
            "FFCV and DALI were not measured: the source of FFCV did not build here, and DALI needs CUDA.",
        ]
    )
    document = {"provenance": where, "rates": found, "opened": {"files": count, "seconds": seconds, "mib": memory}}
    write("pictures", torch.device("cpu"), document, page, arguments.folder)


if __name__ == "__main__":
    main()
