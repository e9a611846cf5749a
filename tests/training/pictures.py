"""A small folder of pictures whose classes can be told apart."""

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def fill(root, *, train=12, test=6, side=40):
    """root/train/CLASS/*.png and root/val/CLASS/*.png: noise around the class's colour."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 120, (side, side + 8, 3))
                pixels[:, :, 2 - label] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n:03}.png")
    return root
