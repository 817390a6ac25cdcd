"""Writers of labelme's JSON and of CSV, by their structure."""

import csv
import json
from pathlib import Path

import numpy as np

from data.label_formats.file_writers import COLUMNS
from data.label_formats.label_registry import open_label_writer
from tests.support.dataset_records import make_image, record


def write(form: str, tmp_path: Path) -> Path:
    image, empty = make_image(tmp_path / "zoë.png"), make_image(tmp_path / "none.png", seed=1)
    one = record(image, [[1.005, 2, 30.5, 40], [5, 5, 60, 60]], [0, 1], crowd=[0, 1])
    one.difficult[0] = True
    with open_label_writer(form, tmp_path / "out", ("猫, gray", "dog")) as writer:
        writer.add("train", one, np.array([0.9, 0.25], np.float32))
        writer.add("train", record(empty, [], []))
    return tmp_path / "out"


def test_labelme(tmp_path: Path) -> None:
    folder = write("labelme", tmp_path) / "train"
    assert sorted(path.name for path in folder.iterdir()) == ["none.json", "none.png", "zoë.json", "zoë.png"]
    content = json.loads((folder / "zoë.json").read_text(encoding="utf-8"))
    assert content.keys() >= {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert (content["imagePath"], content["imageWidth"], content["imageHeight"]) == ("zoë.png", 200, 120)
    first, second = content["shapes"]
    assert first == {
        "label": "猫, gray",
        "points": [[1.0, 2.0], [30.5, 40.0]],
        "group_id": None,
        "description": "",
        "shape_type": "rectangle",
        "flags": {"difficult": True},
    }
    assert (second["label"], second["flags"]) == ("dog", {"crowd": True})
    assert json.loads((folder / "none.json").read_text())["shapes"] == []


def test_csv(tmp_path: Path) -> None:
    folder = write("csv", tmp_path)
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert rows == [
        ["images/zoë.png", "200", "120", "猫, gray", "1.0", "2.0", "30.5", "40.0", "0.9"],
        ["images/none.png", "200", "120", "", "", "", "", "", ""],
    ]
    assert all((folder / row[0]).is_file() for row in rows)
