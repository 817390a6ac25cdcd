"""`pelee-data split` from its arguments to a dataset that every command reads."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.commands import data as cli
from data.datasets.registry import open_dataset
from data.splitting.split_files import WRITERS

VOC = """<annotation><filename>{name}.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def write(form: str, root: Path, count: int = 20) -> None:
    """Images of noise, each with a cat; every fourth one also has a "no"."""
    names = [f"i{index:02}" for index in range(count)]
    folder = root / {"yolo": "images", "voc": "JPEGImages", "coco": "all"}[form]
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        rough = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((160, 120)).save(folder / f"{name}.jpg")
    if form == "yolo":
        (root / "data.yaml").write_text("train: images\nnames: [cat, no]\n")
        (root / "labels").mkdir()
        for index, name in enumerate(names):
            more = "1 0.2 0.2 0.1 0.1\n" if index % 4 == 0 else ""
            (root / "labels" / f"{name}.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{more}")
    elif form == "voc":
        (root / "Annotations").mkdir()
        (root / "labels.txt").write_text("cat\n")
        for name in names:
            (root / "Annotations" / f"{name}.xml").write_text(VOC.format(name=name))
    else:
        images = [{"id": f"x{i}", "file_name": f"{name}.jpg"} for i, name in enumerate(names)]
        objects = [{"id": i, "image_id": f"x{i}", "category_id": 3, "bbox": [1, 2, 3, 4]} for i in range(count)]
        content = {"info": {"a": 1}, "images": images, "annotations": objects, "categories": [{"id": 3, "name": "cat"}]}
        (root / "all.json").write_text(json.dumps(content))


def split(form: str, root: Path, output: Path, *options: str) -> int:
    return cli.main(["split", "--dataset", form, "--root", str(root), "--output", str(output), *options])


@pytest.mark.parametrize("form", WRITERS)
def test_a_split_is_read_by_its_format(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    write(form, root)
    output = root / "ImageSets" / "Main" if form == "voc" else tmp_path / "out"
    assert split(form, root, output) == 0
    out = capsys.readouterr().out
    assert "train" in out and "16" in out and "written: " in out
    train, val = (open_dataset(form, root if form == "voc" else output, name) for name in ("train", "val"))
    assert (len(train.records), len(val.records)) == (16, 4)
    names = {Path(record.image).name for record in (*train.records, *val.records)}
    assert names == {f"i{index:02}.jpg" for index in range(20)}
    assert all(Path(record.image).is_file() and len(record.labels) for record in (*train.records, *val.records))
    assert train.warnings == val.warnings == []
    if form == "yolo":
        assert val.class_names == ("cat", "no") and sum(1 in record.labels for record in val.records) == 1
    assert split(form, root, output) == 2, "existing files are kept"


def test_three_splits_and_faulty_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("yolo", tmp_path / "set")
    assert split("yolo", tmp_path / "set", tmp_path / "out", "--val-share", "0.3", "--test-share", "0.1") == 0
    sizes = [len(open_dataset("yolo", tmp_path / "out", name).records) for name in ("train", "val", "test")]
    assert sizes == [12, 6, 2]
    assert split("yolo", tmp_path / "set", tmp_path / "b", "--val-share", "0.5", "--test-share", "0.5") == 2
    with pytest.raises(SystemExit):
        split("yolo", tmp_path / "set", tmp_path / "b", "--val-share", "2")
    write("yolo", tmp_path / "one", 1)
    assert split("yolo", tmp_path / "one", tmp_path / "b") == 2


def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("yolo", tmp_path / "set")
    (tmp_path / "set" / "images" / "i07.jpg").write_bytes(b"x")
    assert split("yolo", tmp_path / "set", tmp_path / "out") == 1
    assert "left out: " in (out := capsys.readouterr().out) and "i07.jpg" in out
    assert sum(len(open_dataset("yolo", tmp_path / "out", name).records) for name in ("train", "val")) == 19
