"""Packed datasets: the same records as the original, from disk and from memory, and every kind of damage."""

import json
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.errors import DatasetError, ImageError
from data.images.image_io import read_image, read_size
from data.inspection.duplicates import find_duplicates
from data.packed.packed_index import CHECKSUMS, INDEX
from data.packed.packing import PackOptions, pack_split
from tests.support.packed_sources import MAKERS

SIDE = 60


@pytest.fixture(params=sorted(MAKERS))
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    root = tmp_path / "source"
    root.mkdir()
    return open_dataset(request.param, root, MAKERS[request.param](root))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Root of a packed set with one split of two shards."""
    root = tmp_path / "voc"
    root.mkdir()
    dataset = open_dataset("voc", root, MAKERS["voc"](root))
    result = pack_split(dataset, tmp_path / "packed", PackOptions(shard_size=10_240))
    assert result.shards >= 2
    return tmp_path / "packed"


def in_worker(record: object) -> int:
    return int(read_image(record.image).sum())  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["packed", "packed-in-memory"])
def test_files_that_keep_their_size_are_the_same(original: Dataset, form: str, tmp_path: Path) -> None:
    pack_split(original, tmp_path / "packed", PackOptions())
    dataset = open_dataset(form, tmp_path / "packed", original.split)
    assert (dataset.name, dataset.split, dataset.class_names) == (original.name, original.split, original.class_names)
    assert dataset.warnings == original.warnings
    assert len(dataset.records) == len(original.records) > 2
    for own, other in zip(dataset.records, original.records, strict=True):
        assert (own.image_id, own.size) == (other.image_id, other.size)
        for field in ("boxes", "labels", "difficult", "crowd", "areas"):
            a, b = getattr(own, field), getattr(other, field)
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(read_image(own.image), read_image(other.image))
        assert own.image.read_bytes() == other.image.read_bytes()


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_boxes_and_areas_scale_with_the_image(original: Dataset, form: str, tmp_path: Path) -> None:
    pack_split(original, tmp_path / "packed", PackOptions(max_side=SIDE, format=form, quality=95))  # type: ignore[arg-type]
    dataset = open_dataset("packed", tmp_path / "packed", "")
    for own, other in zip(dataset.records, original.records, strict=True):
        assert other.size is not None
        scale = min(1, SIDE / max(other.size))
        assert own.size == read_size(own.image) == tuple(round(side * scale) for side in other.size)
        np.testing.assert_allclose(own.boxes, other.boxes * scale, atol=1e-4)
        np.testing.assert_allclose(own.areas, other.areas * scale**2, rtol=1e-5)
        for field in ("labels", "difficult", "crowd"):
            np.testing.assert_array_equal(getattr(own, field), getattr(other, field))
        difference = read_image(own.image).mean((0, 1)) - read_image(other.image).mean((0, 1))
        assert np.abs(difference).max() < 6


def test_a_split_is_found_by_its_name(packed: Path, tmp_path: Path) -> None:
    split = "2007-trainval,2007-test"
    for root, name in ((packed, split), (packed, ""), (packed / split, split), (packed / split, "")):
        assert open_dataset("packed", root, name).split == split
    with pytest.raises(DatasetError, match="no packed split 'val'; there are 2007-trainval,2007-test"):
        open_dataset("packed", packed, "val")
    other = open_dataset("voc", tmp_path / "voc", "2007-test")
    pack_split(other, packed, PackOptions())
    assert open_dataset("packed", packed, "2007-test").records[0].image_id == "e"
    with pytest.raises(DatasetError, match="no split named; there are 2007-trainval,2007-test, 2007-test"):
        open_dataset("packed", packed, "")
    found = {finding.kind for finding in find_duplicates([open_dataset("packed", packed, split), other])}
    assert found == {"leak"}, "the packed image has the bytes of the file"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["packed", "packed-in-memory"])
def test_records_are_read_in_worker_processes(packed: Path, form: str) -> None:
    records = open_dataset(form, packed, "").records
    expected = [in_worker(record) for record in records]
    assert [in_worker(pickle.loads(pickle.dumps(record))) for record in records] == expected
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(in_worker, records) == expected


def test_memory_outlives_the_files(packed: Path) -> None:
    records = open_dataset("packed-in-memory", packed, "").records
    shutil.rmtree(packed)
    assert [read_image(record.image).shape for record in records]


def shards(root: Path) -> list[Path]:
    return sorted(root.rglob("*.tar"))


@pytest.mark.parametrize("form", ["packed", "packed-in-memory"])
def test_a_shard_that_is_missing_or_cut_is_named(packed: Path, form: str) -> None:
    shard = shards(packed)[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:5000])
    with pytest.raises(DatasetError, match=rf"{shard.name}: 5000 bytes, but the index has {len(content)}; copy") as cut:
        open_dataset(form, packed, "")
    assert "\n" not in str(cut.value)
    shard.unlink()
    with pytest.raises(DatasetError, match=f"{shard.name}: No such file"):
        open_dataset(form, packed, "")


def test_an_altered_shard_is_found_when_it_is_read(packed: Path) -> None:
    records = open_dataset("packed", packed, "").records
    shard = shards(packed)[0]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    assert open_dataset("packed", packed, "").records[0].image_id == records[0].image_id
    with pytest.raises(ImageError, match=r"00000.tar/00000000.jpg: the shard was altered after it was packed; copy"):
        read_image(records[0].image)
    with pytest.raises(DatasetError, match=r"00000.tar: its SHA-256 is not that of the index"):
        open_dataset("packed-in-memory", packed, "")
    shard.write_bytes(content[:600])
    with pytest.raises(ImageError, match="the shard was cut after it was packed"):
        read_image(records[0].image)
    shard.unlink()
    with pytest.raises(ImageError, match=r"00000000.jpg: No such file"):
        read_image(records[0].image)


def test_a_missing_index_or_checksums_are_named(packed: Path) -> None:
    folder = shards(packed)[0].parent
    for name in (INDEX, CHECKSUMS):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(DatasetError, match=f"{name}: No such file.*; copy it again, or pack the dataset again"):
            open_dataset("packed", packed, "")
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DatasetError, match=r"index.json"):
            open_dataset("packed", packed, "")
        (folder / name).write_bytes(content)
    open_dataset("packed", packed, "")


def test_an_altered_index_is_found(packed: Path) -> None:
    index = shards(packed)[0].parent / INDEX
    index.write_text(index.read_text().replace('"labels":[11', '"labels":[12'))
    with pytest.raises(DatasetError, match=r"index.json: its SHA-256 is not that of SHA256SUMS"):
        open_dataset("packed", packed, "")


@pytest.mark.parametrize("content", [{}, {"version": 2}, [], {"version": 1, "shards": [{"file": "x"}]}])
def test_a_foreign_index_is_one_line(packed: Path, content: object) -> None:
    import hashlib

    folder = shards(packed)[0].parent
    text = json.dumps(content).encode()
    (folder / INDEX).write_bytes(text)
    (folder / CHECKSUMS).write_text(f"{hashlib.sha256(text).hexdigest()}  {INDEX}\n")
    with pytest.raises(DatasetError, match=r"not an index of a packed dataset \(.*\); pack the dataset again"):
        open_dataset("packed", packed, "")
