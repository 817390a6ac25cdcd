"""Images of tar shards and Parquet files: our own and foreign ones, damaged ones, and what is no image in them."""

import io
import tarfile
from pathlib import Path

import pytest

from data.errors import ImageError
from data.packed.shard_writer import ShardWriter
from detection.batch.batch_inputs import PlanEntry
from detection.batch.image_stream import EncodedImage, stream_images

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def read(entry: PlanEntry) -> list[EncodedImage]:
    return list(stream_images([entry]))


def write_tar(path: Path, mode: str = "w") -> None:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:
        for name, content in (
            ("./photos/0001.JPG", b"one"),
            ("photos/0001.json", b"{}"),
            ("photos/._0001.jpg", b"a leftover of macOS"),
            (f"photos/{'long' * 60}.png", b"two"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("photos/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "0001.JPG"
        tar.addfile(link)


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz")])
def test_a_foreign_tar(tmp_path: Path, name: str, mode: str) -> None:
    write_tar(tmp_path / name, mode)
    images = read(PlanEntry("tar", str(tmp_path / name), -1))
    assert [image.content for image in images] == [b"one", b"two"]
    assert images[0].name == f"{tmp_path}/{name}/photos/0001.JPG"


def test_a_shard_of_pelee_data_pack(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 100_000) as writer:
        writer.add({"00000000.jpg": b"one", "00000000.json": b"{}"})
        writer.add({"00000001.webp": b"two", "00000001.json": b"{}"})
        writer.finish()
    images = read(PlanEntry("tar", str(tmp_path / "train-00000.tar"), -1))
    assert [image.content for image in images] == [b"one", b"two"]


def test_a_shard_that_is_cut_off_gives_its_images_and_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tgz", "w:gz")
    whole = (tmp_path / "a.tgz").read_bytes()
    write_tar(tmp_path / "b.tar")
    cut = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(cut[: cut.index(b"two") + 1])
    (tmp_path / "a.tgz").write_bytes(whole[: len(whole) // 2])
    for name in ("b.tar", "a.tgz"):
        *_, last = read(PlanEntry("tar", str(tmp_path / name), -1))
        assert isinstance(last.content, ImageError) and "damaged after" in str(last.content), name


def test_a_shard_that_is_missing_is_an_error_of_the_part(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(PlanEntry("tar", str(tmp_path / "absent.tar"), -1))


def test_rows_of_a_parquet_file(tmp_path: Path) -> None:
    structs = [{"bytes": b"%d" % row if row != 1 else None, "path": "x"} for row in range(40)]
    pq.write_table(pa.table({"image": structs}), tmp_path / "a.parquet", row_group_size=30)
    images = read(PlanEntry("parquet", str(tmp_path / "a.parquet"), 10, 1, 30, "image.bytes"))
    assert [image.content for image in images] == [b"%d" % row for row in range(30, 40)]
    assert images[0].name == f"{tmp_path}/a.parquet#30"
    first = read(PlanEntry("parquet", str(tmp_path / "a.parquet"), 30, 0, 0, "image.bytes"))
    assert isinstance(first[1].content, ImageError) and first[0].content == b"0"
