"""Measuring a whole split: every image once, in order, and the tables that come out."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import detection.evaluation.evaluate as module
from data.datasets.records import Dataset, Record
from data.errors import DatasetError, SettingsError
from detection.evaluation.evaluate import evaluate, merge_predictions
from detection.evaluation.report import report
from detection.inference.prediction import Prediction
from tests.support.toy_split import NAMES, dataset, detect_by_number


def one(score: float) -> Prediction:
    return Prediction(np.zeros((1, 4), np.float32), np.array([score], np.float32), np.zeros(1, np.int64))


@pytest.mark.parametrize("batch", [1, 3, 7, 16])
def test_every_image_is_measured_once_and_in_order(tmp_path: Path, batch: int) -> None:
    sizes = []

    def detect(images: list[np.ndarray]) -> list[Prediction]:
        sizes.append(len(images))
        return detect_by_number(images)

    evaluation = evaluate(detect, dataset(tmp_path), batch=batch, workers=3)
    assert sum(sizes) == evaluation.images == 7
    assert max(sizes) == min(batch, 7)
    assert evaluation.voc.map_11point == evaluation.voc.map_allpoint == 1
    assert evaluation.coco.numbers["AP"] == pytest.approx(1)
    assert evaluation.confusion.tolist() == np.diag([4, 3, 0, 0]).tolist()
    assert 0 < evaluation.seconds_detecting <= evaluation.seconds
    assert evaluation.warnings == ("a line about the data",)


def test_images_wait_in_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path, images=12)
    lock, read, seen, excess = threading.Lock(), 0, 0, 0
    original = module.read_image

    def counting(path: Path) -> np.ndarray:
        nonlocal read
        with lock:
            read += 1
        return original(path)

    def slow(images: list[np.ndarray]) -> list[Prediction]:
        nonlocal seen, excess
        time.sleep(0.02)
        with lock:
            excess = max(excess, read - seen)
            seen += len(images)
        return detect_by_number(images)

    monkeypatch.setattr(module, "read_image", counting)
    evaluate(slow, data, batch=2, workers=4)
    assert read == 12
    assert excess <= 6  # the two batches in work and one more


def test_two_calls_at_once(tmp_path: Path) -> None:
    """While one prepares and postprocesses its images, the network has those of the other."""
    both = threading.Barrier(2, timeout=30)

    def waiting(images: list[np.ndarray]) -> list[Prediction]:
        both.wait()
        return detect_by_number(images)

    evaluation = evaluate(waiting, dataset(tmp_path, images=8), batch=2)
    assert evaluation.voc.map_11point == 1
    assert 0 < evaluation.seconds_detecting <= evaluation.seconds


def test_a_damaged_image_ends_it_and_is_named(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (tmp_path / "4.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"4\.png.*needs all images"):
        evaluate(detect_by_number, data, batch=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read")]


def test_a_split_without_objects_and_a_batch_of_none_are_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path, images=1)
    with pytest.raises(SettingsError, match="batch of 0"):
        evaluate(detect_by_number, data, batch=0)
    empty = np.zeros(0)
    record = Record(tmp_path / "0.png", "0", np.zeros((0, 4)), empty, empty, empty, empty)
    with pytest.raises(DatasetError, match="toy test: no objects in 1 images"):
        evaluate(detect_by_number, Dataset("toy", "test", NAMES, [record]))


def test_a_detector_that_loses_images_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 images"):
        evaluate(lambda images: detect_by_number(images[:1]), dataset(tmp_path), batch=2)


def test_images_of_another_size_than_annotated_are_told(tmp_path: Path) -> None:
    evaluation = evaluate(detect_by_number, dataset(tmp_path, size=(48, 64)))
    assert evaluation.warnings[-1] == "7 images differ in size from their annotation; the first is 0.png"
    assert len(evaluate(detect_by_number, dataset(tmp_path, size=None)).warnings) == 1


def test_json_holds_the_numbers_and_null_for_what_is_not_defined(tmp_path: Path) -> None:
    evaluation = evaluate(detect_by_number, dataset(tmp_path), confidence=0.25)
    content = json.loads(json.dumps(evaluation.to_json({"name": "m", "sha256": "0a"}, {"iou": 0.45}), allow_nan=False))
    assert content["model"] == {"name": "m", "sha256": "0a"}
    assert content["settings"] == {"iou": 0.45}
    assert (content["dataset"], content["split"], content["pictures"]) == ("toy", "test", 7)
    assert content["voc"] == {"iou": 0.5, "map_11point": 1, "map_allpoint": 1}
    assert content["coco"]["AP"] == pytest.approx(1)
    assert content["coco"]["APl"] is None
    cow = content["classes"][2]
    assert cow.pop("errors")["missed"] == {"count": 0, "gain": None}
    assert cow.pop("best_f1") == {"confidence": None, "f1": None}
    assert cow == {
        "name": "cow", "objects": 0, "ap_11point": None, "ap_allpoint": None, "ap50": None, "ap50_95": None
    }  # fmt: skip
    assert content["confusion_matrix"]["confidence"] == 0.25
    assert content["confusion_matrix"]["counts"][0] == [4, 0, 0, 0]


def test_errors_and_the_best_confidence_are_told(tmp_path: Path) -> None:
    """Every dog is taken for a cat, and found again beside that, with less confidence."""

    def detect(images: list[np.ndarray]) -> list[Prediction]:
        boxes = np.array([[[n, 5, n + 20, 40]] * 2 for n in (int(image[0, 0, 0]) for image in images)], np.float32)
        return [Prediction(box, np.array([0.9, 0.25], np.float32), np.array([1, 0])) for box in boxes]

    evaluation = evaluate(detect, dataset(tmp_path), confidence=0.5)
    content = evaluation.to_json({}, {})
    assert content["errors"]["kinds"]["class"]["count"] == 4
    assert content["errors"]["kinds"]["missed"]["count"] == 0
    assert content["classes"][1]["errors"]["class"]["count"] == 4
    assert content["errors"]["recall_by_size"][0] == {"size": "small", "objects": 7, "found": 3, "found_by_all": 7}
    # At most 0.25: dogs 2 · 4 / (7 + 4), cats 2 · 3 / (7 + 3); above it the dogs have none.
    assert content["best_f1"] == {"confidence": 0.13, "f1": pytest.approx((8 / 11 + 6 / 10) / 2)}
    assert content["classes"][1]["best_f1"]["f1"] == pytest.approx(6 / 10)
    text = report(evaluation)
    assert "best F1 0.66 (mean over classes) at confidence 0.13" in text
    assert "recall by size from confidence 0.5 on: small 43 % of 7, medium - of 0, large - of 0" in text
    assert ["number", "0", "4", "0", "0", "0", "0"] in [line.split() for line in text.splitlines()]
    assert max(len(line) for line in text.splitlines()) <= 100


def test_merging_drops_what_a_distributed_sampler_pads() -> None:
    # 5 records on 2 processes: the sampler repeats record 0, so that each has 3
    predictions = [one(index / 10) for index in range(5)]
    parts = [
        [(index, predictions[index]) for index in (0, 2, 4)],
        [(1, predictions[1]), (3, predictions[3]), (0, one(0.0))],
    ]
    merged = merge_predictions(parts, total=5)
    assert all(mine is theirs for mine, theirs in zip(merged, predictions, strict=True))


def test_merging_refuses_gaps_and_strangers() -> None:
    with pytest.raises(ValueError, match="2 of 4 records have no prediction, the first is 1"):
        merge_predictions([[(0, one(1))], [(3, one(1))]], total=4)
    with pytest.raises(ValueError, match="record 4, but there are 4"):
        merge_predictions([[(4, one(1))]], total=4)
    with pytest.raises(ValueError, match="record -1"):
        merge_predictions([[(-1, one(1))]], total=4)
    assert merge_predictions([], total=0) == []
