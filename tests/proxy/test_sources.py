"""The same pictures from a folder, from tars as they are downloaded, from shards and from parquet; what is broken is one sentence."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from halosearch.errors import EnvironmentFault
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.decoding import read_image
from halosearch.proxy.data.picture_kinds import AnyPictures
from halosearch.proxy.data.pictures import open_pictures
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.data.tars import shards_of
from tests.training.pictures import CLASSES, fill


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("pictures"))


def files(folder, split):
    """(path, label) of a split's files, by class and name."""
    return [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folder / split / name).iterdir())]


def shown(pictures):
    """Pixels and label of every picture, whatever the order."""
    return sorted((pictures.picture(n).tobytes(), pictures.label(n)) for n in range(len(pictures)))


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def ilsvrc(folder, root):
    """The archives of ILSVRC-2012 in small; classes have numbers that are not those of the order of their names."""
    root.mkdir()
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for name in CLASSES:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for path in sorted((folder / "train" / name).iterdir()):
                    add(tar, f"{name}_{path.stem}.PNG", path.read_bytes())
            add(outer, f"{name}.tar", inner.getvalue())
    numbers = {name: 30 - label for label, name in enumerate(CLASSES)}
    rng, scored = np.random.default_rng(0), files(folder, "val")
    order = rng.permutation(len(scored))
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for place in rng.permutation(len(scored)):  # members in any order
            add(tar, f"ILSVRC2012_val_{place + 1:08}.PNG", scored[order[place]][0].read_bytes())
    synsets = np.array(
        [(number, name) for name, number in numbers.items()], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")]
    )
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = "\n".join(str(numbers[CLASSES[scored[order[place]][1]]]) for place in range(len(scored)))
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    return root


def shards(folder, root):
    root.mkdir()
    for split, count in (("train", 3), ("val", 1)):
        rows = files(folder, split)
        for shard in range(count):
            with tarfile.open(root / f"toy-{split}-{shard:04}.tar", "w") as tar:
                for n, (path, label) in enumerate(rows[shard::count]):
                    add(tar, f"a/{n:05}.png", path.read_bytes())
                    if n % 2:
                        add(tar, f"a/{n:05}.cls", str(label).encode())
                    else:
                        add(tar, f"a/{n:05}.json", json.dumps({"label": label}).encode())
    return root


def parquet(folder, root):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    root.mkdir()
    for split, name in (("train", "train"), ("val", "test")):
        rows = files(folder, split)
        table = pyarrow.table(
            {
                "image": [{"bytes": path.read_bytes(), "path": path.name} for path, _ in rows],
                "label": [label for _, label in rows],
            }
        )
        pq.write_table(table, root / f"{name}-00000-of-00001.parquet")
    return root


@pytest.mark.parametrize("make", [ilsvrc, shards, parquet])
def test_every_form_gives_the_pictures_and_classes_of_the_folder(folder, tmp_path, make, monkeypatch):
    if make is parquet:
        pytest.importorskip("datasets")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    wanted, found = open_pictures(str(folder)), open_pictures(str(make(folder, tmp_path / "other")))
    assert len(found.train) == 36
    assert len(found.test) == 18
    assert shown(found.train) == shown(wanted.train)
    assert shown(found.test) == shown(wanted.test)
    assert len(found.classes) == len(wanted.classes)
    if make is ilsvrc:
        assert found.classes == CLASSES
    assert found.fingerprint


def test_samples_without_a_picture_or_a_class_are_counted(folder, tmp_path):
    root = shards(folder, tmp_path / "shards")
    with tarfile.open(root / "toy-train-0009.tar", "w") as tar:
        add(tar, "1.cls", b"0")
        add(tar, "2.png", files(folder, "train")[0][0].read_bytes())
        add(tar, "3.png", files(folder, "train")[0][0].read_bytes())
        add(tar, "3.cls", b"red")
    found = open_pictures(str(root))
    assert len(found.train) == 36
    assert found.left_out == (("samples", "3 without a picture or a class"),)


def test_broken_and_missing_archives_are_one_sentence(folder, tmp_path):
    root = ilsvrc(folder, tmp_path / "archives")
    whole = (root / "ILSVRC2012_img_val.tar").read_bytes()
    (root / "ILSVRC2012_img_val.tar").write_bytes(whole[:5000])
    with pytest.raises(EnvironmentFault, match=r"cannot be read|has . pictures and the devkit 18 labels"):
        open_pictures(str(root))
    (root / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(EnvironmentFault, match="no ILSVRC2012_img_val"):
        open_pictures(str(root))
    other = tmp_path / "shards"
    other.mkdir()
    (other / "train-0.tar").write_bytes(b"no tar" * 1000)
    (other / "val-0.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(EnvironmentFault, match=r"train-0\.tar cannot be read as a tar"):
        open_pictures(str(other))
    (other / "val-0.tar").unlink()
    with pytest.raises(EnvironmentFault, match=r"1 shard.s. to train on and 0 to score on"):
        open_pictures(str(other))


def test_a_damaged_header_is_no_end_and_labels_are_checked(folder, tmp_path):
    root = shards(folder, tmp_path / "shards")
    path = root / "toy-train-0001.tar"
    whole = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        at = tar.getmembers()[4].offset
    whole[at : at + 512] = b"x" * 512
    path.write_bytes(whole)
    with pytest.raises(EnvironmentFault, match=r"toy-train-0001\.tar cannot be read as a tar: the header at byte"):
        open_pictures(str(root))
    path.unlink()
    with tarfile.open(root / "toy-val-0001.tar", "w") as tar:
        add(tar, "1.png", files(folder, "train")[0][0].read_bytes())
        add(tar, "1.cls", b"7")
    with pytest.raises(EnvironmentFault, match="never trained, the first: 7"):
        open_pictures(str(root))


def test_shards_are_told_by_their_names(tmp_path):
    for name in ("imagenet-train-000.tar", "imagenet-val-000.tar", "000.tar"):
        (tmp_path / name).touch()
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "7.tar").touch()
    found = {split: [path.name for path in paths] for split, paths in shards_of(tmp_path).items()}
    assert found == {
        "train": ["000.tar", "imagenet-train-000.tar"],
        "test": ["imagenet-val-000.tar"],
        "held-out": ["7.tar"],
    }


def test_any_dataset_of_images_and_labels_will_do():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = AnyPictures(
        [(Image.fromarray(pixels), 1), (pixels, 2), (np.ascontiguousarray(pixels.transpose(2, 0, 1)), 3)]
    )
    assert [data.label(n) for n in range(3)] == [1, 2, 3]
    assert all(np.array_equal(np.asarray(data.picture(n)), pixels) for n in range(3))
    with pytest.raises(ValueError, match="no bytes of three colours"):
        AnyPictures([(pixels.astype(float), 0)]).picture(0)


def test_a_folder_without_splits_is_dealt_and_a_test_folder_scores(folder, tmp_path):
    (tmp_path / "alone").symlink_to(folder / "train")
    dealt = open_pictures(str(tmp_path / "alone"))
    assert (len(dealt.train), len(dealt.test)) == (30, 6)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "train").symlink_to(folder / "train")
    (tmp_path / "both" / "test").symlink_to(folder / "val")
    both = open_pictures(str(tmp_path / "both"))
    assert (len(both.train), len(both.test)) == (36, 18)


@pytest.mark.parametrize("make", [ilsvrc, shards, parquet])
def test_studies_read_them_too(folder, tmp_path, make, monkeypatch):
    if make is parquet:
        pytest.importorskip("datasets")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    root = make(folder, tmp_path / "other")

    def stored(source, cache):
        data = open_data(DataRequest(str(source), 0, 100, 100, 32, tmp_path / cache))
        assert data.report.images == {"train": 36, "test": 9, "held-out": 9}
        return data, sorted(image.tobytes() for image in data.arrays()[0]["train"])

    data, pixels = stored(root, "one")
    assert pixels == stored(folder, "two")[1]
    assert [(labels == 1).sum() for labels in data.arrays()[1].values()] == [12, 3, 3]
    monkeypatch.setattr("halosearch.proxy.data.folder._decode", None)  # decoded once
    assert stored(root, "one")[1] == pixels


def test_greys_of_twelve_bits_are_as_bright_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(8):
            Image.fromarray(rng.integers(0, 4096, (20, 20)).astype(np.uint16)).save(tmp_path / name / f"{n}.png")
    found = open_pictures(str(tmp_path))
    assert "read as 12 bits" in found.description
    assert np.asarray(found.train.picture(0)).max() > 200


def test_greys_of_twelve_bits_in_tars_tables_and_datasets_are_as_bright_as_in_a_folder(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            (tmp_path / "folder" / split / name).mkdir(parents=True)
            for n in range(4):
                image = Image.fromarray(rng.integers(0, 4096, (20, 20)).astype(np.uint16))
                image.save(tmp_path / "folder" / split / name / f"{n}.png")
    wanted = open_pictures(str(tmp_path / "folder"))
    for make in (shards, parquet):
        found = open_pictures(str(make(tmp_path / "folder", tmp_path / make.__name__)))
        assert "read as 12 bits" in found.description
        assert shown(found.train) == shown(wanted.train)
        assert shown(found.test) == shown(wanted.test)
    whole = Image.fromarray((rng.integers(0, 4096, (20, 20)) * 16).astype(np.uint16))
    read = np.asarray(AnyPictures([(whole, 0)]).picture(0))
    assert 100 < read.mean() < 150, "not clipped to white"


def test_words_are_classes_of_a_table_and_rows_without_one_are_a_sentence(folder, tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("datasets")
    import pyarrow.parquet as pq

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def written(root, lost):
        root.mkdir()
        for split, name in (("train", "train"), ("val", "test")):
            rows = files(folder, split)
            labels = [path.parent.name for path, _ in rows]
            labels[0] = None if lost and split == "train" else labels[0]
            images = [{"bytes": path.read_bytes(), "path": path.name} for path, _ in rows]
            pq.write_table(pyarrow.table({"image": images, "label": labels}), root / f"{name}-0.parquet")
        return open_pictures(str(root))

    found, wanted = written(tmp_path / "words", lost=False), open_pictures(str(folder))
    assert found.classes == wanted.classes
    assert shown(found.train) == shown(wanted.train)
    with pytest.raises(EnvironmentFault, match="rows whose label is no whole number and no word"):
        written(tmp_path / "lost", lost=True)


def test_other_labels_or_pixels_of_the_same_size_are_other_data(folder, tmp_path):
    root = shards(folder, tmp_path / "shards")
    before = open_pictures(str(root)).fingerprint
    path = root / "toy-train-0000.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        member = next(each for each in tar.getmembers() if each.name.endswith(".cls"))
    at = member.offset_data
    other = b"1" if whole[at : at + 1] != b"1" else b"2"
    path.write_bytes(whole[:at] + other + whole[at + 1 :])
    assert open_pictures(str(root)).fingerprint != before
    path.write_bytes(whole)
    assert open_pictures(str(root)).fingerprint == before


def test_what_is_scored_is_what_a_study_holds_out(folder, tmp_path):
    (tmp_path / "alone").symlink_to(folder / "train")
    study = open_data(DataRequest(str(tmp_path / "alone"), 0, 100, 100, 40, tmp_path / "cache"))
    held = sorted(image.tobytes() for image in study.arrays()[0]["held-out"])
    scored = open_pictures(str(tmp_path / "alone")).test
    assert len(held) == len(scored)
    searched = {image.tobytes() for image in study.arrays()[0]["test"]}
    side = study.arrays()[0]["test"].shape[1]
    assert sorted(read_image(scored.picture(n), side).pixels.tobytes() for n in range(len(scored))) == held
    assert not searched & set(held)


def test_a_table_beside_class_folders_is_no_table_of_pictures(folder, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).symlink_to(folder / "train" / "red")
    (tmp_path / "metadata.parquet").write_bytes(b"")
    assert open_pictures(str(tmp_path)).classes == ("cats", "dogs")


def test_a_tar_beside_its_unpacked_classes_is_no_shard(folder, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        add(tar, "1.png", b"")
    (tmp_path / "cats").symlink_to(folder / "train" / "red")
    (tmp_path / "dogs").symlink_to(folder / "train" / "blue")
    assert open_pictures(str(tmp_path)).classes == ("cats", "dogs")
