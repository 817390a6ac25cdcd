"""`pelee-data convert` from its arguments to a dataset in another format."""

import json
from pathlib import Path

import pytest

from data.commands import data as cli
from data.commands.convert import split_names
from data.datasets.registry import open_dataset
from tests.support.dataset_records import make_image


def convert(source: str, root: Path, target: str, output: Path, *options: str) -> int:
    return cli.main(
        ["convert", "--from", source, "--root", str(root), "--to", target, "--output", str(output), *options]
    )


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A train image with a box and a polygon, and a val image with a box and keypoints."""
    root = tmp_path / "yolo"
    for split, line in (("train", "0 .5 .5 .2 .2\n1 .1 .1 .3 .1 .2 .4"), ("val", "1 .5 .5 .4 .4 .5 .5 2 .4 .4 1")):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        make_image(root / "images" / split / "a.png", seed=len(split))
        (root / "labels" / split / "a.txt").write_text(line)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return root


@pytest.mark.parametrize("target", ["coco", "voc", "yolo"])
def test_all_splits_are_converted(target: str, yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert("yolo", yolo, target, tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "train -> train: 1 images, 2 objects" in out and "val -> val: 1 images, 1 objects" in out
    assert "2 objects have masks, polygons or keypoints; the boxes around them are written" in out
    for split, labels in (("train", [0, 1]), ("val", [1])):
        (found,) = open_dataset(target, tmp_path / "out", split).records
        (original,) = open_dataset("yolo", yolo, split).records
        assert found.labels.tolist() == labels
        assert found.boxes == pytest.approx(original.boxes, abs=0.02)
        assert Path(str(found.image)).read_bytes() == Path(str(original.image)).read_bytes()


def test_an_image_that_cannot_be_read_is_left_out(
    yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (yolo / "images" / "train" / "b.png").write_bytes(b"\x89PNG")
    assert convert("yolo", yolo, "coco", tmp_path / "out", "--split", "train") == 1
    assert "b.png" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png"]


def test_images_are_linked_or_copied(yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = yolo / "images" / "train" / "a.png"
    assert convert("yolo", yolo, "voc", tmp_path / "linked") == 0
    assert "2 of 2 images as hard links" in capsys.readouterr().out
    assert (tmp_path / "linked" / "JPEGImages" / "a.png").samefile(original)
    assert convert("yolo", yolo, "voc", tmp_path / "copied", "--copy") == 0
    copy = tmp_path / "copied" / "JPEGImages" / "a.png"
    assert not copy.samefile(original) and copy.read_bytes() == original.read_bytes()
    assert "hard links" not in capsys.readouterr().out


def test_a_disk_without_links_gets_copies(yolo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert convert("yolo", yolo, "coco", tmp_path / "out") == 0
    assert (tmp_path / "out" / "images" / "train" / "a.png").is_file()


def test_a_link_in_the_dataset_gives_the_image_itself(yolo: Path, tmp_path: Path) -> None:
    image = yolo / "images" / "train" / "a.png"
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    assert convert("yolo", yolo, "coco", tmp_path / "out", "--split", "train") == 0
    made = tmp_path / "out" / "images" / "train" / "a.png"
    assert not made.is_symlink() and made.samefile(tmp_path / "elsewhere.png")


def test_an_existing_dataset_is_not_replaced(yolo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert("yolo", yolo, "coco", yolo) == 2
    assert "is not empty" in capsys.readouterr().err
    assert convert("yolo", yolo / "none", "coco", yolo.parent / "out") == 2
    assert "no such file or folder" in capsys.readouterr().err and not (yolo.parent / "out").exists()


def test_split_names() -> None:
    assert split_names(["2007-trainval", "2007-test", "val2017"]) == ["train", "test", "val"]
    assert split_names(["2007-trainval", "2012-trainval"]) == ["2007-trainval", "2012-trainval"]
    assert split_names(["2007-trainval,2012-trainval", "minival"]) == ["2007-trainval_2012-trainval", "minival"]
