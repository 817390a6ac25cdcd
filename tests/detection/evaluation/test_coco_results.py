"""Result file of COCO's evaluation server."""

import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from data.errors import DatasetError
from detection.evaluation.coco_results import write_coco_results
from tests.support.toy_split import dataset, detect_by_number


def test_pycocotools_loads_the_results(tmp_path: Path) -> None:
    split, file = dataset(tmp_path / "images"), tmp_path / "out" / "results.json"
    assert write_coco_results(detect_by_number, split, (18, 17, 21), file, batch=3) == 7
    content = json.loads(file.read_text())
    assert content[1] == {"image_id": 1, "category_id": 17, "bbox": [1.0, 5.0, 20.0, 35.0], "score": 0.9}
    assert [item["image_id"] for item in content] == list(range(7))
    truth = COCO()
    truth.dataset = {"images": [{"id": number} for number in range(7)], "categories": [], "annotations": []}
    truth.createIndex()
    assert len(truth.loadRes(str(file)).anns) == 7


def test_an_unreadable_image_writes_nothing(tmp_path: Path) -> None:
    split, file = dataset(tmp_path / "images"), tmp_path / "results.json"
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"3\.png.*needs the results of all images"):
        write_coco_results(detect_by_number, split, (18, 17, 21), file, batch=3)
    assert not file.exists()
