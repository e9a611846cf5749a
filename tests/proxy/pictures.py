"""Real image files, made: smooth colour fields with a class-dependent pattern, JPEG and PNG, odd sizes, one corrupt."""

import numpy as np
from PIL import Image

CLASSES = ("beach", "forest", "street")


def photograph(label, index):
    rng = np.random.default_rng(100 * label + index)
    height, width = int(rng.integers(50, 130)), int(rng.integers(50, 130))
    y, x = np.mgrid[0:height, 0:width] / 64
    base = np.stack([np.sin(x * (1 + label) + c) + np.cos(y * (2 + label)) for c in range(3)], -1)
    return Image.fromarray(((base + rng.normal(0, 0.3, base.shape) + 2.5) * 50).clip(0, 255).astype(np.uint8))


def make_tree(root, per_class=20):
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            photograph(label, i).save(root / name / (f"p{i}.jpg" if i % 2 else f"p{i}.png"))
    (root / "beach" / "broken.jpg").write_bytes((root / "beach" / "p1.jpg").read_bytes()[:300])
    (root / "forest" / "notes.txt").write_text("not an image")
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(root / "street" / "grey.png")
    return root


def make_cifar(root, classes=10, per_file=40):
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = (
        [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        if classes == 10
        else ["train.bin", "test.bin"]
    )
    for name in names:
        labels = rng.integers(0, classes, per_file)
        pixels = (labels[:, None] * (200 // classes) + rng.integers(0, 40, (per_file, 3072))).astype(np.uint8)
        head = [labels[:, None].astype(np.uint8)] * (1 if classes == 10 else 2)
        np.concatenate([*head, pixels], 1).tofile(root / name)
    return root
