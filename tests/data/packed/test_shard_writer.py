"""The writer of shards: positions, sizes and checksums against `tarfile`."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from data.errors import SettingsError
from data.packed.shard_writer import ShardWriter


def test_positions_sizes_and_checksums(tmp_path: Path) -> None:
    contents = [bytes([number]) * (number * 701) for number in range(20)]
    with ShardWriter(tmp_path, "s", 20_480) as writer:
        places = [
            writer.add({f"{number}.jpg": content, f"{number}.json": b"{}"}) for number, content in enumerate(contents)
        ]
        shards = writer.finish()
    assert len(shards) > 2 and [shard.path.name for shard in shards[:2]] == ["s-00000.tar", "s-00001.tar"]
    for content, (number, (image, annotation)) in zip(contents, places, strict=True):
        assert shards[number].read(image, len(content)) == content
        assert shards[number].read(annotation, 2) == b"{}"
    for shard in shards:
        whole = shard.path.read_bytes()
        assert len(whole) == shard.size <= 20_480 and hashlib.sha256(whole).hexdigest() == shard.sha256
        with tarfile.open(shard.path) as tar:
            assert len(tar.getnames()) % 2 == 0


def test_a_sample_that_fits_exactly(tmp_path: Path) -> None:
    """One record of tar: a header, 18 blocks less the end's two."""
    for size, fits in ((17 * 512, True), (17 * 512 + 1, False)):
        with ShardWriter(tmp_path, f"s{size}", 10_240) as writer:
            if fits:
                writer.add({"a": b"x" * size})
                assert writer.finish()[0].size == 10_240
            else:
                with pytest.raises(SettingsError, match="a needs a shard of 20480 bytes"):
                    writer.add({"a": b"x" * size})
