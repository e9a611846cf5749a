"""Pictures inside archives or tables as studies read them: decoded once into a shared cache, like those of a folder."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.dataset import HELD_OUT, TEST, TRAIN
from halosearch.proxy.data.folder import FolderLimits, Listing, Watch, decoded, unwatched, within
from halosearch.proxy.data.folder_layout import Item
from halosearch.proxy.data.picture_kinds import Pictures
from halosearch.proxy.data.pictures import Source


def open_packed(
    root: Path, source: Source, cache: Path, limits: FolderLimits, *, dense: bool = False, watch: Watch = unwatched
) -> ArrayImages:
    """Decode (or find decoded) a class-stratified subset of pictures inside archives or tables; half of those that are kept for scoring are held out.

    Raises:
        EnvironmentFault: fewer than two classes or eight readable images.
        DecodingStoppedError: `watch` said so.
    """
    splits: dict[str, list[Item]] = {}
    places: dict[str, tuple[Pictures, int]] = {}
    for part, pictures in ((TRAIN, source.train), (TEST, source.test)):
        names = [f"{part} {pictures.name(index)}" for index in range(len(pictures))]
        places |= {name: (pictures, index) for index, name in enumerate(names)}
        splits[part] = [(name, pictures.label(index)) for index, name in enumerate(names)]
    tested = sorted(splits[TEST], key=lambda item: (item[1], item[0]))
    splits[TEST], splits[HELD_OUT] = tested[::2], tested[1::2]
    kept, unused = within(splits, limits)
    mark = (int(source.fingerprint.replace("-", "")[:12], 16), 0)
    marks = {name: mark for items in kept.values() for name, _ in items}
    del splits
    places = {name: places[name] for name in marks}

    def opened(name: str) -> Image.Image:
        pictures, index = places[name]
        return pictures.picture(index)

    listing = Listing(opened, list(source.classes), kept, list(source.left_out), unused, marks)
    return decoded(root, listing, cache, limits, dense, watch)
