"""`pelee-data pack`: its options, and the commands that read what it wrote."""

import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from PIL import Image

from data.commands import data as pelee_data
from data.commands.pack import byte_size
from data.datasets.registry import open_dataset
from data.images.image_io import read_size
from data.inspection.verification import verify_dataset
from tests.support.packed_sources import make_coco, make_voc, write_images


def test_pack_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "voc").mkdir()
    make_voc(tmp_path / "voc")
    words = ["--root", str(tmp_path / "voc"), "--split", "2007-trainval", "--split", "2007-test"]
    options = ["--max-side", "60", "--format", "webp", "--quality", "80", "--shard-size", "20KB"]
    assert pelee_data.main(["pack", "--dataset", "voc", *words, *options, "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/out/2007-trainval: 3 images, 4 objects, 0.0 MB, shards: 1\n" in out
    report = ["--split", "2007-test", "--json", "-"]
    for form in ("packed", "packed-in-memory"):
        pelee_data.main(["check", "--dataset", form, "--root", str(tmp_path / "out"), *report])
        written = json.loads(capsys.readouterr().out)
        assert written["splits"][0]["objects"] == 2
    assert pelee_data.main(["check", "--dataset", "packed", "--root", str(tmp_path / "out"), "--json", "-"]) == 1
    checked = [split["split"] for split in json.loads(capsys.readouterr().out)["splits"]]
    assert checked == ["2007-trainval", "2007-test"], "all, those for training first"


def test_boxes_in_the_stored_frame_are_turned_and_unreadable_images_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EXIF orientation 6 with the annotated size of the stored image; and a file that is no image."""
    make_coco(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = tmp_path / "val2017" / "a.b.jpg"
    Image.open(stored).save(stored, exif=exif)
    (tmp_path / "val2017" / "c d.jpg").write_bytes(b"no image")
    words = ["--dataset", "coco", "--root", str(tmp_path), "--split", "val2017", "--format", "jpeg"]
    assert pelee_data.main(["pack", *words, "--output", str(tmp_path / "out")]) == 1
    assert "left out: " in (err := capsys.readouterr().err) and "c d.jpg" in err
    packed = open_dataset("packed", tmp_path / "out", "val2017")
    original = verify_dataset(open_dataset("coco", tmp_path, "val2017"))
    assert [record.image_id for record in packed.records] == ["10", "12"] and "c d.jpg" in packed.unreadable[0]
    assert packed.records[0].size == read_size(packed.records[0].image) == (80, 120)
    assert packed.records[0].boxes.tolist() == original.records[0].boxes.tolist() == [[37.75, 1.5, 77.75, 31.625]]


def test_images_without_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "photos")
    words = ["--dataset", "folder", "--root", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]
    assert pelee_data.main(["pack", *words]) == 0
    assert "3 images, 0 objects" in capsys.readouterr().out
    assert open_dataset("packed", tmp_path / "out", "").class_names == ()


@pytest.mark.parametrize(
    ("text", "size"), [("30MB", 30_000_000), ("32MiB", 2**25), ("1.5 kb", 1500), ("7", 7), ("2G", 2 * 10**9), ("9B", 9)]
)
def test_sizes(text: str, size: int) -> None:
    assert byte_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "3TB", "0", "3 M B"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        byte_size(text)


@pytest.mark.parametrize(
    "words", [["--quality", "101"], ["--format", "png"], ["--max-side", "0"], ["--shard-size", "x"]]
)
def test_usage(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        pelee_data.main(["pack", "--dataset", "coco", "--root", str(tmp_path), "--output", str(tmp_path / "o"), *words])
    assert stopped.value.code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard that is /dev/full, on which each write fails as on a full disk."""
    from data.packed import shard_writer

    make_coco(tmp_path)
    opened = shard_writer.tarfile.open
    monkeypatch.setattr(shard_writer.tarfile, "open", lambda path, *rest, **more: opened("/dev/full", *rest, **more))
    words = ["--dataset", "coco", "--root", str(tmp_path), "--split", "val2017", "--output", str(tmp_path / "out")]
    assert pelee_data.main(["pack", *words]) == 2
    assert (
        capsys.readouterr().err.strip() == "error: No space left on device; free some space and run the command again"
    )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_kill_leaves_no_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed after the first shard is begun: the split does not exist for a reader, and the next run packs it."""
    make_coco(tmp_path)
    words = ["--dataset", "coco", "--root", str(tmp_path), "--split", "val2017", "--output", str(tmp_path / "out")]
    code = (
        "import os, signal, sys; from data.packed import packing; from data.commands.data import main\n"
        "packing.write_index = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", code, "pack", *words], check=False)
    assert killed.returncode == -signal.SIGKILL and os.listdir(tmp_path / "out") == [".val2017.partial"]  # noqa: PTH208
    assert pelee_data.main(["check", "--dataset", "packed", "--root", str(tmp_path / "out")]) == 2
    assert "no split named; there are none" in capsys.readouterr().err
    assert pelee_data.main(["pack", *words]) == 0
    pelee_data.main(["check", "--dataset", "packed", "--root", str(tmp_path / "out")])
    assert capsys.readouterr().out.count("3 images") == 2
