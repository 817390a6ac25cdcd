"""Images in a shard: their bytes, and what is wrong with a shard that changed. More in `tests/data/packed`."""

import hashlib
import zlib
from pathlib import Path

import pytest

from data.errors import DatasetError, ImageError
from data.images.image_slice import ImageSlice, Shard, stored_length


def make_shard(path: Path, content: bytes = b"...first...second", in_memory: bool = False) -> Shard:
    path.write_bytes(content)
    return Shard(path, len(content), hashlib.sha256(content).hexdigest(), in_memory)


@pytest.mark.parametrize("in_memory", [False, True])
def test_bytes_come_from_their_place(tmp_path: Path, in_memory: bool) -> None:
    shard = make_shard(tmp_path / "a.tar", in_memory=in_memory)
    shard.check()
    image = ImageSlice(shard, "1.jpg", 3, 5, zlib.crc32(b"first"))
    assert image.read_bytes() == b"first" and stored_length(image) == 5
    assert str(image) == f"{tmp_path}/a.tar/1.jpg"
    if not in_memory:
        with pytest.raises(ImageError, match=r"a.tar/1.jpg: the shard was altered"):
            ImageSlice(shard, "1.jpg", 3, 5, zlib.crc32(b"First")).read_bytes()
    with pytest.raises(ImageError, match=r"a.tar/1.jpg: the shard was cut"):
        ImageSlice(shard, "1.jpg", 11, 9, 0).read_bytes()


def test_memory_is_checked_by_the_checksum(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "a.tar", in_memory=True)
    shard.path.write_bytes(b"...firsT...second")
    with pytest.raises(DatasetError, match=r"a.tar: its SHA-256 is not that of the index; copy the shard again"):
        shard.check()
    on_disk = Shard(shard.path, shard.size, shard.sha256)
    on_disk.check()


def test_the_length_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1234")
    assert stored_length(tmp_path / "x") == 4
