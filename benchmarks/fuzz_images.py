"""Does any damaged image end a run, or is one read as something else? A folder of mutated files is opened as a user's would be.

    python -m benchmarks.fuzz_images [--count 30000] [--seed 0]

Small pictures in every format and mode that Pillow writes here are damaged (bytes changed, cut off, put in, moved; headers more often
than bodies), laid out as two classes beside a few whole ones, and opened by `open_folder`. The claim to fail: the run does not end; every
file is either counted or named; what is counted is stored, in its place and class, with the pixels that Pillow gives for it alone
(opened, turned upright, as RGB, fitted; greys of 16 bits as bytes first); and what Pillow alone can read is read, but for names.
"""

import argparse
import io
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, features

from benchmarks.recording import HERE, provenance, table, write
from halosearch.proxy.data.folder import FolderLimits, open_folder
from halosearch.proxy.data.folder_layout import SUFFIXES, deal, look_through, stratified

SIDE = 24
FORMATS = {
    "png": ("RGB", "RGBA", "L", "P", "1", "I;16"), "jpg": ("RGB", "L", "CMYK"), "gif": ("P",), "bmp": ("RGB", "L", "P"),
    "tiff": ("RGB", "L", "CMYK", "I;16", "F"), "webp": ("RGB", "RGBA"), "ppm": ("RGB", "L"), "tga": ("RGB", "L"), "ico": ("RGBA",),
    "jp2": ("RGB", "L"), "avif": ("RGB",), "pcx": ("RGB", "L"), "dds": ("RGB",),
}  # fmt: skip
WHITE = 65_535
WHOLE = 8
"""Undamaged pictures of each class, so that there is something to train on."""


def originals():
    """(ending, bytes) of a small picture in every format and mode that can be written here."""
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    noisy = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for ending, modes in FORMATS.items():
        for mode in modes:
            for pixels in (smooth, noisy):
                image = Image.fromarray(pixels)
                if mode == "I;16":
                    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
                elif mode != "RGB":
                    image = image.convert(mode)
                out = io.BytesIO()
                exif = Image.Exif()
                exif[0x0112] = 6  # turned by a quarter
                keeps_exif = ending in ("jpg", "png", "webp", "tiff", "avif")
                try:
                    image.save(
                        out, Image.registered_extensions()[f".{ending}"], **({"exif": exif} if keeps_exif else {})
                    )
                except (OSError, KeyError, ValueError):  # not built with it, or no such mode
                    continue
                yield ending, out.getvalue()


def damaged(content, generator):
    """A few changes of a file, half of them in its first 64 bytes."""
    content = bytearray(content)
    for _ in range(int(generator.integers(1, 6))):
        first = min(len(content), 64) if generator.random() < 0.5 else len(content)
        at, kind = int(generator.integers(0, max(1, first))), generator.random()
        if kind < 0.6 and content:
            content[at] = int(generator.integers(0, 256))
        elif kind < 0.75:
            content[at:at] = generator.bytes(int(generator.integers(1, 9)))
        elif kind < 0.9:
            del content[at : at + int(generator.integers(1, 9))]
        elif kind < 0.95:
            del content[at:]
        else:
            content[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


def lay_out(root, count, seed):
    """Damaged pictures in two classes, and whole ones."""
    generator, made = np.random.default_rng(seed), list(originals())
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for index in range(WHOLE):
            Image.new("RGB", (30, 30), (20 * index, 90, 7)).save(root / name / f"whole-{index}.png")
    for index in range(count):
        ending, content = made[index % len(made)]
        (root / ("ant", "bee")[index % 2] / f"{index:06d}.{ending}").write_bytes(damaged(content, generator))
    return sorted({ending for ending, _ in made}), len(made)


def pillows(path):
    """What Pillow alone gives for a file, fitted as a picture is stored; its mode where that has no bytes; None where it raises."""
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                values = np.asarray(upright).astype(int)
                if values.min() < 0 or values.max() > WHITE:
                    return None
                upright = Image.fromarray((values * 255 // WHITE).astype(np.uint8))
            if upright.mode == "F":
                return "floats"
            native = min(upright.size)
            method = Image.Resampling.BOX if native > 2 * SIDE else Image.Resampling.BILINEAR
            return np.asarray(ImageOps.fit(upright.convert("RGB"), (SIDE, SIDE), method))
    except Exception:  # noqa: BLE001  # decoders raise whatever they like
        return None


def stored_at(root, images):
    """The pixels and the class that each file that was read is stored with, from the order in which a folder is listed."""
    every, unreadable = 10**9, {path for path, _ in images.report.unreadable}
    found, tops = look_through(root)
    places = {}
    for split, items in deal(found, tops).items():
        read = [(path, label) for path, label in stratified(items, every) if path not in unreadable]
        for row, (path, label) in enumerate(read):
            places[path] = images._images[split][row], int(images._labels[split][row]) == label
        assert len(read) == images.size(split)
    return places


def compared(root, images):
    """Files by what became of them: (here, by Pillow alone), and those whose pixels or class differ."""
    places, found, differ = stored_at(root, images), Counter(), []
    for path in sorted(root.rglob("*.*")):
        alone, name = pillows(path), path.relative_to(root).as_posix()
        here = "read" if name in places else "refused by its name" if path.suffix not in SUFFIXES else "named"
        found[here, alone if isinstance(alone, str) else "nothing" if alone is None else "a picture"] += 1
        wrong = name in places and not (
            isinstance(alone, np.ndarray) and places[name][1] and np.array_equal(places[name][0], alone)
        )
        if wrong or (here == "named" and isinstance(alone, np.ndarray)):
            differ.append(name)
    return found, differ


def page_of(document):
    """Markdown."""
    rows = [[*key.split(" / "), number] for key, number in document["found"].items()]
    held = not document["differ"] and document["counted"] + document["named"] == document["files"]
    return "\n\n".join(
        [
            "# Damaged images",
            f"{document['files']:,} files ({document['damaged']:,} of them damaged; from {document['originals']} pictures in "
            f"{', '.join(document['formats'])}) opened as one folder in {document['seconds']:.0f} s: the run went on, "
            f"{document['counted']:,} were read and {document['named']:,} named with what is wrong. "
            f"**Every file accounted for, and none read differently from Pillow alone: {'held' if held else 'failed'}** "
            f"({len(document['differ'])} differ).",
            table(["here", "Pillow alone gives", "files"], rows),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu")) | {"pillow": Image.__version__, "avif": features.check("avif")}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "damaged"
        formats, count = lay_out(root, arguments.count, arguments.seed)
        started = time.perf_counter()
        every = 2 * (arguments.count + 2 * WHOLE)
        images = open_folder(root, Path(place) / "cache", FolderLimits(every, every, SIDE))
        seconds = time.perf_counter() - started
        found, differ = compared(root, images)
    document = {
        "provenance": where,
        "files": arguments.count + 2 * WHOLE,
        "damaged": arguments.count,
        "originals": count,
        "formats": formats,
        "refused": [each for each in formats if f".{each}" not in SUFFIXES],
        "seconds": seconds,
        "counted": sum(images.report.images.values()),
        "named": len(images.report.unreadable) + len(images.report.skipped),
        "reasons": dict(Counter(reason.split(":")[0] for _, reason in images.report.unreadable).most_common()),
        "found": {" / ".join(key): number for key, number in sorted(found.items())},
        "differ": differ,
    }
    write("fuzz-images", torch.device("cpu"), document, page_of(document), arguments.folder)


if __name__ == "__main__":
    main()
