"""Packing: shards that other programs read, their limit, and nothing half-written in the place of a whole."""

import errno
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.errors import DatasetError, SettingsError
from data.images.image_io import read_image
from data.packed import packing
from data.packed.packing import PackOptions, pack_split
from tests.support.packed_sources import make_yolo


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "yolo").mkdir()
    return open_dataset("yolo", tmp_path / "yolo", make_yolo(tmp_path / "yolo"))


def test_shards_are_webdataset_s(dataset: Dataset, tmp_path: Path) -> None:
    """Pairs of one stem, in the order of the records, each shard within its limit."""
    result = pack_split(dataset, tmp_path / "out", PackOptions(shard_size=10_240))
    assert result.folder == tmp_path / "out" / "train"
    members: list[tuple[str, bytes]] = []
    for path in sorted(result.folder.glob("train-*.tar")):
        assert path.stat().st_size <= 10_240
        with tarfile.open(path) as tar:
            members += [(entry.name, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]
    assert [name for name, _ in members] == [
        f"{number:08}.{suffix}" for number in range(3) for suffix in ("jpg", "json")
    ]
    for number, record in enumerate(dataset.records):
        assert members[2 * number][1] == record.image.read_bytes()
        label = json.loads(members[2 * number + 1][1])
        assert label["image_id"] == record.image_id and label["boxes"] == record.boxes.tolist()
    sums = dict(line.split("  ")[::-1] for line in (result.folder / "SHA256SUMS").read_text().splitlines())
    assert sorted(sums) == sorted(path.name for path in result.folder.iterdir() if path.name != "SHA256SUMS")
    assert all(hashlib.sha256((result.folder / name).read_bytes()).hexdigest() == sums[name] for name in sums)
    assert (result.images, result.objects, result.shards) == (3, 2, len(sums) - 1)


def test_packing_twice_gives_the_same_files(dataset: Dataset, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        folder = pack_split(dataset, tmp_path / name, PackOptions(max_side=50, format="webp")).folder
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_an_upright_image_stays_upright(dataset: Dataset, tmp_path: Path) -> None:
    """EXIF orientation: the file keeps it, an encoded image is turned."""
    path = dataset.records[0].image
    assert isinstance(path, Path)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(read_image(path)).save(content, format="JPEG", exif=exif)
    path.write_bytes(content.getvalue())
    turned = open_dataset("yolo", tmp_path / "yolo", "train")
    for name, options in (("kept", PackOptions()), ("encoded", PackOptions(format="jpeg", quality=95))):
        pack_split(turned, tmp_path / name, options)
        own = open_dataset("packed", tmp_path / name, "").records[0]
        assert own.size == turned.records[0].size == (80, 120)
        assert np.abs(read_image(own.image).astype(int) - read_image(path)).mean() < 5


def test_an_image_larger_than_a_shard_is_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"00000000.jpg needs a shard of \d+ bytes, more than the 4096 of --shard-size"
    ):
        pack_split(dataset, tmp_path / "out", PackOptions(shard_size=4096))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_image_is_named(dataset: Dataset, tmp_path: Path) -> None:
    path = dataset.records[1].image
    assert isinstance(path, Path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"c d.jpg: .*; repair the dataset, then pack it"):
        pack_split(dataset, tmp_path / "out", PackOptions())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "write_index", full)
    with pytest.raises(OSError, match="No space left"):
        pack_split(dataset, tmp_path / "out", PackOptions())
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_run_left_is_no_split_and_is_replaced(dataset: Dataset, tmp_path: Path) -> None:
    partial = tmp_path / "out" / ".train.partial"
    partial.mkdir(parents=True)
    (partial / "train-00000.tar").write_bytes(b"half")
    with pytest.raises(DatasetError, match="no packed split 'train'; there are none"):
        open_dataset("packed", tmp_path / "out", "train")
    pack_split(dataset, tmp_path / "out", PackOptions())
    assert not partial.exists() and len(open_dataset("packed", tmp_path / "out", "train").records) == 3
    with pytest.raises(DatasetError, match="train exists; delete it, or choose another --output"):
        pack_split(dataset, tmp_path / "out", PackOptions())


@pytest.mark.parametrize("split", ["..", ".hidden", "a/b", "50%"])
def test_any_name_of_a_split_is_one_folder(split: str, dataset: Dataset, tmp_path: Path) -> None:
    named = Dataset("yolo", split, dataset.class_names, dataset.records)
    result = pack_split(named, tmp_path / "out", PackOptions())
    assert result.folder.parent == tmp_path / "out" and not result.folder.name.startswith(".")
    assert open_dataset("packed", tmp_path / "out", split).split == split
