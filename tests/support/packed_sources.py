"""Small datasets of the three layouts with boxes, to be packed."""

import json
from pathlib import Path

import numpy as np

from data.images.image_io import write_image

SIZES = [(120, 80), (60, 90), (50, 40)]  # the last is smaller than the packed ones
NAMES = ["a.b", "c d", "e"]  # a dot and a blank, as image ids have them


def write_images(folder: Path) -> None:
    for number, (name, (width, height)) in enumerate(zip(NAMES, SIZES, strict=True)):
        coarse = np.random.default_rng(number).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        write_image(folder / f"{name}.jpg", coarse.repeat(10, 0).repeat(10, 1))


def make_voc(root: Path) -> str:
    write_images(root / "VOC2007" / "JPEGImages")
    (root / "VOC2007" / "Annotations").mkdir(parents=True)
    for name, (width, height) in zip(NAMES, SIZES, strict=True):
        objects = "".join(
            f"<object><name>{label}</name><difficult>{hard}</difficult><bndbox><xmin>{x}</xmin><ymin>3</ymin>"
            f"<xmax>{x + 20}</xmax><ymax>31</ymax></bndbox></object>"
            for label, hard, x in (("dog", 0, 2), ("person", 1, 17))
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{objects if name != 'c d' else ''}</annotation>"
        (root / "VOC2007" / "Annotations" / f"{name}.xml").write_text(text)
    sets = root / "VOC2007" / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "trainval.txt").write_text("".join(f"{name}\n" for name in reversed(NAMES)))
    (sets / "test.txt").write_text("e\n")
    return "2007-trainval,2007-test"


def make_coco(root: Path) -> str:
    write_images(root / "val2017")
    content = {
        "images": [
            {"id": 10 + number, "file_name": f"{name}.jpg", "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(zip(NAMES, SIZES, strict=True))
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [1.5, 2.25, 30.125, 40], "area": 700.5, "iscrowd": 0},
            {"id": 2, "image_id": 12, "category_id": 3, "bbox": [-9, 0, 50, 40], "area": 90, "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "stop sign"}, {"id": 7, "name": "brush"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return "val2017"


def make_yolo(root: Path) -> str:
    write_images(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.b.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.3 0.1 0.3 0.6\n")
    (root / "data.yaml").write_text("train: images/train\nnames: [nut, screw]\n")
    return "train"


MAKERS = {"voc": make_voc, "coco": make_coco, "yolo": make_yolo}
