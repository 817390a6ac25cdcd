"""Evaluation of a classifier: metrics by hand, against other implementations, and with unreadable images."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from data.classification.image_folder import ImageFolderDataset
from data.errors import DatasetError
from pelee.classification.classifier import Classifier
from pelee.classification.evaluation.evaluate import (
    ClassifierEvaluation,
    TopKResult,
    check_classes,
    evaluate,
    most_frequent,
    score,
)
from tests.support.lookup_classifier import LookupSession, card, gray_image
from tests.support.toy_evaluation import LABELS, NAMES, ROWS, evaluation_by_hand, measured


@pytest.fixture
def by_hand() -> ClassifierEvaluation:
    return evaluation_by_hand()


def test_accuracies_by_hand(by_hand: ClassifierEvaluation) -> None:
    assert by_hand.top1 == pytest.approx(3 / 7)
    assert math.isnan(by_hand.top5)  # of three classes five would always be right
    assert by_hand.counts.tolist() == [2, 2, 3]
    np.testing.assert_allclose(by_hand.top_k_by_class(1), [1 / 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(by_hand.top_k_by_class(2), [1, 1, 1 / 3])


def test_ranks_by_hand(by_hand: ClassifierEvaluation) -> None:
    # the sixth: 0.0 against 0, 1, 0: behind the bee and, equal, behind the ant; the seventh the same
    assert by_hand.results.rank.tolist() == [0, 1, 0, 1, 0, 2, 2]
    assert by_hand.results.predicted.tolist() == [0, 1, 1, 0, 2, 1, 1]


def test_confusion_matrix_by_hand(by_hand: ClassifierEvaluation) -> None:
    assert by_hand.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 2, 1]]
    assert by_hand.worst_classes(2) == [2, 0]
    assert most_frequent(by_hand.confusion[2], 2, 3) == [(1, 2)]


def test_mistakes_by_hand(by_hand: ClassifierEvaluation) -> None:
    found = [(m.file.name, m.label, m.predicted, m.score, m.label_score) for m in by_hand.mistakes]
    assert found == [
        ("5.png", 2, 1, 1.0, 0.0),
        ("1.png", 0, 1, 0.75, 0.25),
        ("3.png", 1, 0, 0.5, 0.5),
        ("6.png", 2, 1, 0.5, 0.25),
    ]


def test_calibration_error_by_hand(by_hand: ClassifierEvaluation) -> None:
    # scores 0.75 (four, three right), 0.5 (two, none right), 1 (one, wrong), in three of the 15 bins
    expected = (4 * abs(3 / 4 - 0.75) + 2 * abs(0 - 0.5) + 1 * abs(0 - 1)) / 7
    assert by_hand.calibration_error == pytest.approx(expected)


def test_calibration_error_is_zero_where_scores_equal_accuracy() -> None:
    rows = np.tile([0.8, 0.2], (10, 1))
    labels = np.array([0] * 8 + [1] * 2)
    assert measured(rows, labels, ("a", "b")).calibration_error == pytest.approx(0, abs=1e-12)


def test_accuracies_equal_pytorch() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 12)).astype(np.float32)
    labels = rng.integers(0, 12, 500)
    logits[np.arange(500), labels] += 1
    rows = torch.from_numpy(logits).softmax(1)
    found = measured(rows.numpy(), labels, tuple("abcdefghijkl"))
    hits = rows.topk(5).indices == torch.from_numpy(labels)[:, None]
    assert found.top1 == pytest.approx(hits[:, 0].float().mean().item())
    assert found.top5 == pytest.approx(hits.any(1).float().mean().item())
    for label in range(12):
        own = hits[labels == label]
        assert found.top_k_by_class(1)[label] == pytest.approx(own[:, 0].float().mean().item())
        assert found.top_k_by_class(5)[label] == pytest.approx(own.any(1).float().mean().item())
    expected = np.zeros((12, 12), int)
    for label, said in zip(labels, rows.argmax(1).tolist(), strict=True):
        expected[label, said] += 1
    np.testing.assert_array_equal(found.confusion, expected)


def test_calibration_error_equals_a_loop_over_bins() -> None:
    rng = np.random.default_rng(1)
    rows = rng.dirichlet([0.3] * 6, 400)
    labels = rng.integers(0, 6, 400)
    score, right = rows.max(1), rows.argmax(1) == labels
    expected = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = (score >= low) & ((score < high) | (number == 14))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - score[inside].mean())
    assert measured(rows, labels, tuple("abcdef")).calibration_error == pytest.approx(expected)


def test_accuracy_of_a_class_without_an_image_is_undefined() -> None:
    found = measured(ROWS[:2], LABELS[:2], NAMES)
    assert np.isnan(found.top_k_by_class(1)[1:]).all()
    assert found.worst_classes(3) == [0]
    assert found.to_json({}, {})["classes"][1]["top1"] is None


def classifier(rows: np.ndarray = ROWS, names: tuple[str, ...] = NAMES) -> Classifier:
    return Classifier(LookupSession(rows), card(list(names)))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_evaluate_skips_unreadable_images(batch: int, tmp_path: Path) -> None:
    files = [gray_image(tmp_path / f"{number}.png", number) for number in range(7)]
    files[3].write_text("not an image")
    found = evaluate(classifier(), ImageFolderDataset("toys", "val", NAMES, files, LABELS), batch=batch)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 2, 1]]
    assert found.top1 == pytest.approx(3 / 6)
    assert len(found.unreadable) == 1 and "3.png: not an image" in found.unreadable[0]
    assert [mistake.file.name for mistake in found.mistakes] == ["5.png", "1.png", "6.png"]


def test_evaluate_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("not an image")
    images = ImageFolderDataset("toys", "val", NAMES, [tmp_path / "0.png"], np.array([0]))
    with pytest.raises(DatasetError, match=r"none of 1 images could be read; the first: .*0.png"):
        evaluate(classifier(), images)
    with pytest.raises(DatasetError, match="toys val has no images"):
        evaluate(classifier(), ImageFolderDataset("toys", "val", NAMES, [], np.zeros(0, np.int64)))


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (("ant", "bee"), "the model knows 3 classes, the data set has 2; measure"),
        (("ant", "bee", "cat", "dog"), "the model knows 3 classes, the data set has 4; measure"),
        (("bee", "cat"), "the model knows 3 classes, the data set has 2 (class 0 is 'ant' there and 'bee' here)"),
        (("ant", "cat", "bee"), "the data set's classes in another order (class 1 is 'bee' there and 'cat' here)"),
        (("ant", "bee", "cow"), "other classes than the data set has (class 2 is 'cat' there and 'cow' here)"),
    ],
)
def test_check_classes_names_the_first_difference(theirs: tuple[str, ...], words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_classes(NAMES, theirs)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_top5_of_more_than_five_classes() -> None:
    names = tuple("abcdefg")
    rows = np.tile([0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02], (4, 1))
    found = measured(rows, np.array([0, 4, 5, 6]), names)
    assert (found.top1, found.top5) == (0.25, 0.5)
    assert [row["top5"] for row in found.to_json({}, {})["classes"]] == [1, None, None, None, 1, 0, 0]


def test_score_returns_columns_of_equal_length() -> None:
    found = score(ROWS.astype(np.float32), LABELS)
    assert isinstance(found, TopKResult) and {len(column) for column in found} == {7}
