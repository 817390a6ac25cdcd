"""The confidence of the best F1, by hand, and its way into a model's card."""

import json
from pathlib import Path

import numpy as np
import pytest

from detection.evaluation.f1_threshold import (
    GRID,
    best_f1,
    class_confidence,
    class_f1,
    describe_thresholds,
    write_confidence,
)
from detection.evaluation.voc_ap import evaluate_voc
from tests.support.metric_data import BOX, FAR, found, truth
from tests.support.tiny_detector import save_small
from weights.card import Card
from weights.export_manifest import Export
from weights.store import load_tensors, resolve

NOWHERE = (90.0, 0.0, 95.0, 5.0)


def test_f1_of_a_class_by_hand() -> None:
    """TP at 0.9, FP at 0.6, TP at 0.3, of three objects: 2 · 1 / (1 + 3), 2 · 1 / (2 + 3), 2 · 2 / (3 + 3)."""
    f1 = class_f1(np.array([1, 1, 2]) / 3, np.array([0.9, 0.6, 0.3]), 3)
    at = dict(zip(np.round(GRID, 2).tolist(), f1.tolist(), strict=True))
    assert [at[t] for t in (0.99, 0.91)] == [0, 0]
    assert [at[t] for t in (0.9, 0.61)] == pytest.approx([0.5, 0.5])
    assert [at[t] for t in (0.6, 0.31)] == pytest.approx([0.4, 0.4])
    assert [at[t] for t in (0.3, 0.01)] == pytest.approx([2 / 3, 2 / 3])


def test_the_best_over_classes_counts_each_alike() -> None:
    """Dogs are best from 0.4 on (the FP is below), the one cat is found at 0.2 only.

    Mean F1: above 0.8 0; 0.41 to 0.8: dogs 2/3 / 2; 0.31 to 0.4: dogs 1, so 1/2; 0.21 to 0.3: dogs 4/5; to 0.2: with
    the cat (4/5 + 1) / 2 = 0.9, the best.
    """
    record = truth((BOX, 0), (FAR, 0), (BOX, 1))
    said = found((BOX, 0.8, 0), (FAR, 0.4, 0), (NOWHERE, 0.3, 0), (BOX, 0.2, 1))
    best = best_f1(evaluate_voc([said], [record], ["dog", "cat", "cow"]))
    assert best.f1 == pytest.approx(0.9)
    assert best.confidence == pytest.approx(0.1)  # the middle of 0.01 to 0.2, where all are equal
    assert best.class_f1[:2] == pytest.approx([1, 1])
    assert best.class_confidence[:2] == pytest.approx([0.35, 0.1])
    assert np.isnan(best.class_f1[2]) and np.isnan(best.class_confidence[2])


def test_without_a_detection_and_without_an_object() -> None:
    nothing_found = best_f1(evaluate_voc([found()], [truth((BOX, 0))], ["dog"]))
    assert nothing_found.f1 == 0
    assert np.isnan(best_f1(evaluate_voc([found()], [truth()], ["dog"])).f1)


def test_a_class_has_the_highest_recall_at_the_precision() -> None:
    """Dogs: TP 0.9, FP 0.7, TP 0.5, FP 0.4, FP 0.3, of two; cats: FP 0.9, TP 0.4; cows: never found; no sheep.

    Dogs at a precision of 0.6: both are found from 0.5 down, with the FP above (2 of 3); of 0.41 to 0.5, where nothing
    else is, the middle. At 0.9, only the first one, from 0.7 to below 0.9. Cats reach neither: 1 of 2 from 0.4 down.
    """
    record = truth((BOX, 0), (FAR, 0), (BOX, 1), (BOX, 2))
    dogs = ((BOX, 0.9, 0), (NOWHERE, 0.7, 0), (FAR, 0.5, 0), (NOWHERE, 0.4, 0), (NOWHERE, 0.3, 0))
    result = evaluate_voc([found(*dogs, (NOWHERE, 0.9, 1), (BOX, 0.4, 1))], [record], ["dog", "cat", "cow", "sheep"])
    low = class_confidence(result, ["Hund", "Katze", "Kuh", "Schaf"], "voc val", 0.6)
    assert (low["precision"], low["split"], list(low["classes"])) == (0.6, "voc val", ["Hund", "Katze"])
    assert low["classes"]["Hund"] == {"confidence": 0.45, "chosen_by": "precision", "precision": 0.667, "recall": 1.0}
    assert low["classes"]["Katze"] == {"confidence": 0.2, "chosen_by": "best F1", "precision": 0.5, "recall": 1.0}
    high = class_confidence(result, ["Hund", "Katze", "Kuh", "Schaf"], "voc val", 0.9)
    assert high["classes"]["Hund"] == {"confidence": 0.79, "chosen_by": "precision", "precision": 1.0, "recall": 0.5}
    said = "by class 0.20 to 0.45, at a precision of 0.6 or, where it is not reached, the best F1: Katze"
    assert describe_thresholds(low) == said


def test_a_model_that_finds_nothing_has_no_thresholds_of_classes() -> None:
    assert class_confidence(evaluate_voc([found()], [truth((BOX, 0))], ["dog"]), ["dog"], "val", 0.8) == {}


@pytest.mark.slow
def test_a_card_and_its_exports_take_the_confidence(tmp_path: Path) -> None:
    model = save_small(tmp_path / "m")
    for name, source in (("openvino", model.card.sha256), ("of other weights", "ab" * 32)):
        folder = tmp_path / "m" / name
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"")
        (folder / "card.json").write_text(model.card.to_json())
        export = Export("onnx", "f32", False, model.card.input_size, source, {"model.onnx": "cd" * 32})
        (folder / "export.json").write_text(export.to_json())
    by_class = {"precision": 0.8, "split": "val", "classes": {}}
    write_confidence(model, 0.37, by_class)
    cards = [Card.load(tmp_path / "m" / name) for name in ("", "openvino", "of other weights")]
    assert [card.default_confidence for card in cards] == [0.37, 0.37, 0.3]
    assert [card.class_confidence for card in cards] == [by_class, by_class, {}]
    load_tensors(resolve(tmp_path / "m"))  # the weights are still those that the card describes
    before = json.loads(model.card.to_json())
    assert json.loads((tmp_path / "m" / "card.json").read_text()) == before | {
        "default_confidence": 0.37,
        "class_confidence": by_class,
    }
