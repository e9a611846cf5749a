"""Open a dataset by what a study says of it: built-in scenes, a folder of images, CIFAR files, archives or tables of pictures."""

from __future__ import annotations

from pathlib import Path

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.arrays import ArrayImages
from halosearch.proxy.data.cifar import layout_of, open_cifar
from halosearch.proxy.data.dataset import DataRequest, Dataset
from halosearch.proxy.data.dense_scenes import DenseScenes
from halosearch.proxy.data.device_arrays import DeviceImages
from halosearch.proxy.data.device_scenes import DeviceScenes
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.folder import FolderLimits, Watch, open_decoded, open_folder, unwatched
from halosearch.proxy.data.hub import is_hub
from halosearch.proxy.data.packed import open_packed
from halosearch.proxy.data.pictures import is_packed, open_pictures
from halosearch.proxy.data.scenes import Scenes

UPSAMPLING_LIMIT = 1.5
STORE_MARGIN = 1.15


def open_data(request: DataRequest, device: str = "cpu", watch: Watch = unwatched) -> Dataset:
    """The dataset behind `request.source`; on CUDA its batches are made there, where the source can.

    `watch` is told how far the decoding of a folder is, and says whether to go on.

    Raises:
        EnvironmentFault: the path does not exist or holds nothing that can be trained on.
    """
    if request.source in DIFFICULTIES:
        named = request.source, request.seed, request.test_images
        if DIFFICULTIES[request.source].drawing == 1:
            return Scenes(*named)
        return DeviceScenes(*named, device) if device.startswith("cuda") else DenseScenes(*named)
    root = Path(request.source).expanduser()
    if not root.exists() and not is_hub(request.source):
        raise EnvironmentFault(
            f"there is no data at {request.source}",
            f"give a folder of images, CIFAR files, or a built-in task: {', '.join(DIFFICULTIES)}; data that was moved: --data ITS NEW PLACE",
        )
    found = _arrays(request, root, watch)
    return DeviceImages(found, device) if device.startswith("cuda") else found


def _arrays(request: DataRequest, root: Path, watch: Watch) -> ArrayImages:
    if request.decoded is not None:
        return open_decoded(request.decoded, root, dense=request.dense)
    if layout_of(root):
        return open_cifar(root, request.train_images, request.test_images, dense=request.dense)
    side = round(STORE_MARGIN * request.largest_size)
    limits = FolderLimits(request.train_images, request.test_images, side)
    if is_packed(request.source):
        packed = open_pictures(request.source)
        return open_packed(root, packed, request.cache, limits, dense=request.dense, watch=watch)
    return open_folder(root, request.cache, limits, dense=request.dense, watch=watch)


def upsampled_sizes(data: Dataset, sizes: tuple[int, ...]) -> list[int]:
    """Image sizes of more than 1.5 x the images' own: their pixels carry nothing new."""
    native = data.report.native_size
    return [] if native is None else [size for size in sizes if size > UPSAMPLING_LIMIT * native]
