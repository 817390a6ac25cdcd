"""Parts: float32 as given, errors as null boxes, several row groups, names that are no UTF-8; read by pandas."""

import io
import json
import os

import numpy as np
import pytest

from detection.batch import part_files
from detection.batch.part_files import JSON_LINES, PARQUET, ImageRow, ModelFacts, open_part
from detection.inference.prediction import Prediction

pq = pytest.importorskip("pyarrow.parquet")
FACTS = ModelFacts("pelee-voc", "0" * 64, "openvino int8 CPU", ("cat", "dog"))
FOUND = Prediction(
    np.array([[0.1, 1 / 3, 20.7, 30], [1, 2, 3, 4]], np.float32),
    np.array([0.9, 0.1234567], np.float32),
    np.array([1, 0], np.int64),
)


def test_parquet_keeps_every_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_files, "ROWS", 2)
    part = open_part(PARQUET, FACTS)
    part.add(ImageRow("a.jpg", 640, 480, FOUND, warning="cut"))
    part.add(ImageRow("b.jpg", error="not an image"))
    part.add(ImageRow("c.jpg", 5, 6))
    file = pq.ParquetFile(io.BytesIO(part.finish()))
    assert file.num_row_groups == 2
    first, second, third = file.read().to_pylist()
    assert [box["label"] for box in first["detections"]] == ["dog", "cat"] and first["warning"] == "cut"
    assert [np.float32(box["score"]) for box in first["detections"]] == FOUND.scores.tolist()
    assert np.float32(first["detections"][0]["y1"]) == np.float32(1 / 3)
    assert second["detections"] == [] and second["error"] == "not an image" and second["width"] == 0
    assert (third["width"], third["height"], third["error"]) == (5, 6, None)


def test_a_part_without_images_is_a_file_of_no_rows() -> None:
    assert pq.read_table(io.BytesIO(open_part(PARQUET, FACTS).finish())).num_rows == 0
    assert open_part(JSON_LINES, FACTS).finish() == b""


def test_a_name_that_is_no_utf8_is_written_readably() -> None:
    part = open_part(PARQUET, FACTS)
    part.add(ImageRow(os.fsdecode(b"\xff\xc3\xa4.jpg"), error=os.fsdecode(b"\xff: gone")))
    (row,) = pq.read_table(io.BytesIO(part.finish())).to_pylist()
    assert (row["source"], row["error"]) == ("\\xffä.jpg", "\\xff: gone")


def test_pandas_reads_it() -> None:
    pandas = pytest.importorskip("pandas")
    part = open_part(PARQUET, FACTS)
    part.add(ImageRow("a.jpg", 640, 480, FOUND))
    frame = pandas.read_parquet(io.BytesIO(part.finish()))
    boxes = pandas.json_normalize(frame.explode("detections")["detections"])
    assert list(boxes["label"]) == ["dog", "cat"] and boxes["x2"].iloc[1] == 3


def test_json_lines() -> None:
    part = open_part(JSON_LINES, FACTS)
    part.add(ImageRow("a.jpg", 640, 480, FOUND))
    part.add(ImageRow("b.jpg", error="not an image"))
    first, second = map(json.loads, part.finish().splitlines())
    assert first["detections"][0] == {"label": "dog", "class_id": 1, "score": 0.9, "box": [0.1, 0.3, 20.7, 30.0]}
    assert first["model_sha256"] == "0" * 64 and second["error"] == "not an image"
