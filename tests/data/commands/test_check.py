"""`pelee-data check` from its arguments to its exit code."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.commands import data as cli
from data.datasets.registry import find_format
from data.images.image_io import read_image

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def add(folder: Path, name: str, box: tuple[int, int, int, int], seed: int, width: int = 64) -> None:
    """A VOC image of 64 × 48 with a cat and a difficult dog."""
    noise = np.random.default_rng(seed).integers(0, 256, (48, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "JPEGImages" / f"{name}.jpg")
    objects = OBJECT.format(name="cat", difficult=0, box=box) + OBJECT.format(name="dog", difficult=1, box=(1, 1, 9, 9))
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><filename>{name}.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A devkit with two clean splits of their own classes, `train` and `val`."""
    folder = tmp_path / "VOC2007"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    for index in range(4):
        add(folder, f"{index:06}", (1, 1, 32, 24), index)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("000000\n000001\n000002\n")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("000003\n")
    return tmp_path


def check(root: Path, *options: str) -> int:
    return cli.main(["check", "--dataset", "voc", "--root", str(root), *options])


def test_clean(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(root, "--split", "2007-train", "--split", "2007-val") == 0
    out, err = capsys.readouterr()
    assert "voc 2007-train: 3 images, 6 objects (3 difficult, 0 crowd)" in out
    assert "voc 2007-val: 1 images, 2 objects (1 difficult, 0 crowd)" in out
    assert out.endswith("no faults\n")
    assert err == "", "no bar where nobody looks"


def test_faults_in_text_and_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(root / "VOC2007", "000001", (1, 1, 30, 99), 1, width=70)
    with (root / "VOC2007" / "ImageSets" / "Main" / "val.txt").open("a") as file:
        file.write("000002\n")
    report = root / "out" / "report.json"
    assert check(root, "--split", "2007-train", "--split", "2007-val", "--json", str(report)) == 1
    out = capsys.readouterr().out
    assert "annotated as 64 × 48, the image is 70 × 48" in out
    assert "FAULT: 1 annotations that had to be corrected" in out
    assert "FAULT: 1 images that are in two splits" in out
    assert out.endswith("3 faults\n")
    values = json.loads(report.read_text(encoding="utf-8"))
    assert values["faults"] == 3
    assert [split["split"] for split in values["splits"]] == ["2007-train", "2007-val"]
    assert [finding["where"] for finding in values["between"]] == ["000002"]
    assert values["quick"] is False


def test_json_to_standard_output_is_json_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(root, "--split", "val", "--json", "-", "--quick") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["splits"][0]["classes"] == {"cat": 1, "dog": 1}
    assert values["quick"] is True


@pytest.mark.parametrize("option", ["--num-images", "--pictures"])  # the second is the old name
def test_sheet(option: str, root: Path) -> None:
    sheet = root / "sheet.png"
    assert check(root, "--split", "train", "--sheet", str(sheet), option, "2") == 0
    assert read_image(sheet).shape == (256 + 18, 2 * 256, 3)


def test_a_sheet_that_cannot_be_written_is_refused_before_images_are_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("data.inspection.check.inspect_split", lambda *_, **__: pytest.fail("the work began"))
    assert check(root, "--sheet", str(root / "sheet.txt")) == 2
    assert check(root, "--sheet", str(root)) == 2
    err = capsys.readouterr().err
    assert "cannot write an image with the suffix '.txt'" in err and f"{root} is a folder" in err


def test_a_dataset_of_one_split_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_yolo(tmp_path, "[cat]", {"train/a": "0 0.5 0.5 0.2 0.2\n"})
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    assert check_yolo(tmp_path) == 0
    assert "train is the only split; pelee-data split divides it" in capsys.readouterr().out
    assert check_yolo(tmp_path, "--split", "train") == 0
    assert "only split" not in capsys.readouterr().out


def test_errors_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(root, "--split", "2007-tset") == 2
    assert check(root / "nowhere") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)


def write_yolo(root: Path, names: str, labels: dict[str, str | None]) -> None:
    """A YOLO dataset; a label of None is an image without a label file."""
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    for seed, (place, text) in enumerate(labels.items()):
        image, label = root / "images" / f"{place}.png", root / "labels" / f"{place}.txt"
        image.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(image)
        if text is not None:
            label.write_text(text)


def check_yolo(root: Path, *options: str) -> int:
    return cli.main(["check", "--dataset", "yolo", "--root", str(root), *options])


@pytest.mark.slow
def test_every_split_and_every_fault_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_yolo(
        tmp_path,
        "[cat, cat, '']",
        {
            "train/a": "0 0.5 0.5 0.2 0.2\n9 0.5 0.5 0.2 0.2\nx\n",
            "train/b": None,
            "val/c": "1 0.5 0.5 0.2\n2 0.5 0.5 0.2 0.2\n",
            "val/d": "0 0.5 0.5 0.2 0.2\n",
        },
    )
    (tmp_path / "images/val/d.png").write_bytes(b"no image")
    assert check_yolo(tmp_path) == 1
    out = capsys.readouterr().out
    for text in (
        "yolo train: 2 images",
        "yolo val: 2 images",
        "class 'cat' comes 2 times (labels 0, 1)",
        "the class of label 2 has an empty name",
        "a.txt, line 2: class 9",
        "a.txt, line 3: 'x' is not a line of numbers",
        "c.txt, line 1: 4 numbers",
        "1 of 2 images, the first is",
        "d.png: not an image",
        "FAULT: 2 annotations that had to be corrected: label line dropped",
    ):
        assert text in out, text


def test_a_split_that_cannot_be_read_is_a_fault_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yolo(tmp_path, "[cat]", {"train/a": "0 0.5 0.5 0.2 0.2\n"})
    assert check_yolo(tmp_path) == 1
    out = capsys.readouterr().out
    assert "FAULT: 1 splits that cannot be read" in out and "'images/val' is neither" in out
    assert out.endswith("1 faults\n")
    assert check_yolo(tmp_path, "--split", "val") == 2


def test_splits_of_every_format(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "voc 2007-train: 3" in out and "voc 2007-val: 1" in out
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("000000\n000001\n000002\n000003\n")
    (root / "VOC2007/ImageSets/Main/cat_train.txt").write_text("000000 1\n")
    assert find_format("voc").list_splits(root) == ["2007-trainval"]
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for name in ("instances_val", "instances_train", "captions_val", "test"):
        (folder / "annotations" / f"{name}.json").write_text("{}")
    assert find_format("coco").list_splits(folder) == ["train", "test", "val"]
    assert find_format("packed").list_splits(folder) == [""]
