"""Measuring a classifier: by hand, against other ways of counting, and with pictures that cannot be read."""

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
from pelee.classification.evaluation.report import report
from tests.support.lookup_classifier import LookedUp, card, grey

NAMES = ("ant", "bee", "cat")
# Seven pictures, by what is said of each; the labels that they are given are below.
ROWS = np.array(
    [
        [0.75, 0.25, 0.0],  # an ant: right
        [0.25, 0.75, 0.0],  # an ant taken for a bee
        [0.0, 0.75, 0.25],  # a bee: right
        [0.5, 0.5, 0.0],  # a bee; of two equals the lower id is said, so an ant
        [0.0, 0.25, 0.75],  # a cat: right
        [0.0, 1.0, 0.0],  # a cat, surely taken for a bee
        [0.25, 0.5, 0.25],  # a cat taken for a bee
    ]
)
LABELS = np.array([0, 0, 1, 1, 2, 2, 2])


def measured(rows: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> ClassifierEvaluation:
    files = [Path(f"{number}.png") for number in range(len(labels))]
    return ClassifierEvaluation("toys", "val", names, labels, score(rows, labels), files, (), 1.0)


@pytest.fixture
def by_hand() -> ClassifierEvaluation:
    return measured(ROWS, LABELS, NAMES)


def test_the_accuracies_by_hand(by_hand: ClassifierEvaluation) -> None:
    assert by_hand.top1 == pytest.approx(3 / 7)
    assert math.isnan(by_hand.top5)  # of three classes five would always be right
    assert by_hand.counts.tolist() == [2, 2, 3]
    np.testing.assert_allclose(by_hand.top_k_by_class(1), [1 / 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(by_hand.top_k_by_class(2), [1, 1, 1 / 3])


def test_ranks_by_hand(by_hand: ClassifierEvaluation) -> None:
    # the sixth: 0.0 against 0, 1, 0: behind the bee and, equal, behind the ant; the seventh the same
    assert by_hand.results.rank.tolist() == [0, 1, 0, 1, 0, 2, 2]
    assert by_hand.results.said.tolist() == [0, 1, 1, 0, 2, 1, 1]


def test_the_confusion_by_hand(by_hand: ClassifierEvaluation) -> None:
    assert by_hand.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 2, 1]]
    assert by_hand.worst_classes(2) == [2, 0]
    assert most_frequent(by_hand.confusion[2], 2, 3) == [(1, 2)]


def test_the_most_confident_mistakes_by_hand(by_hand: ClassifierEvaluation) -> None:
    found = [(m.file.name, m.label, m.said, m.score, m.label_score) for m in by_hand.mistakes]
    assert found == [
        ("5.png", 2, 1, 1.0, 0.0),
        ("1.png", 0, 1, 0.75, 0.25),
        ("3.png", 1, 0, 0.5, 0.5),
        ("6.png", 2, 1, 0.5, 0.25),
    ]


def test_the_calibration_error_by_hand(by_hand: ClassifierEvaluation) -> None:
    # scores 0.75 (four, three right), 0.5 (two, none right), 1 (one, wrong), in three of the 15 bins
    expected = (4 * abs(3 / 4 - 0.75) + 2 * abs(0 - 0.5) + 1 * abs(0 - 1)) / 7
    assert by_hand.calibration_error == pytest.approx(expected)


def test_scores_that_are_kept_are_perfectly_calibrated() -> None:
    rows = np.tile([0.8, 0.2], (10, 1))
    labels = np.array([0] * 8 + [1] * 2)
    assert measured(rows, labels, ("a", "b")).calibration_error == pytest.approx(0, abs=1e-12)


def test_the_same_numbers_as_pytorch_counts_them() -> None:
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


def test_the_calibration_error_as_a_loop_over_bins_counts_it() -> None:
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


def test_a_class_without_a_picture_is_no_zero() -> None:
    found = measured(ROWS[:2], LABELS[:2], NAMES)
    assert np.isnan(found.top_k_by_class(1)[1:]).all()
    assert found.worst_classes(3) == [0]
    assert "2 classes without a picture: bee, cat" in report(found)
    assert found.to_json({}, {})["classes"][1]["top1"] is None


def classifier(rows: np.ndarray = ROWS, names: tuple[str, ...] = NAMES) -> Classifier:
    return Classifier(LookedUp(rows), card(list(names)))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_split_is_measured_and_the_unreadable_left_out(batch: int, tmp_path: Path) -> None:
    files = [grey(tmp_path / f"{number}.png", number) for number in range(7)]
    files[3].write_text("no picture")
    found = evaluate(classifier(), ImageFolderDataset("toys", "val", NAMES, files, LABELS), batch=batch)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 2, 1]]
    assert found.top1 == pytest.approx(3 / 6)
    assert len(found.unreadable) == 1 and "3.png: not an image" in found.unreadable[0]
    assert [mistake.file.name for mistake in found.mistakes] == ["5.png", "1.png", "6.png"]


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("no picture")
    pictures = ImageFolderDataset("toys", "val", NAMES, [tmp_path / "0.png"], np.array([0]))
    with pytest.raises(DatasetError, match=r"none of 1 pictures could be read; the first: .*0.png"):
        evaluate(classifier(), pictures)
    with pytest.raises(DatasetError, match="toys val has no pictures"):
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
def test_classes_that_do_not_fit_are_told(theirs: tuple[str, ...], words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_classes(NAMES, theirs)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_report_shows_the_worst_first(by_hand: ClassifierEvaluation) -> None:
    text = report(by_hand, worst=2)
    assert "toys val: top-1 42.86, calibration error 28.6" in text
    assert "the worst 2 classes" in text and "top-5" not in text
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(NAMES)]
    assert rows == [["cat", "3", "33.3", "bee", "2"], ["ant", "2", "50.0", "bee", "1"]]
    assert max(map(len, text.splitlines())) <= 100


def test_top5_is_told_of_more_than_five_classes() -> None:
    names = tuple("abcdefg")
    rows = np.tile([0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02], (4, 1))
    found = measured(rows, np.array([0, 4, 5, 6]), names)
    assert (found.top1, found.top5) == (0.25, 0.5)
    assert "top-1 25.00, top-5 50.00" in report(found)
    assert [row["top5"] for row in found.to_json({}, {})["classes"]] == [1, None, None, None, 1, 0, 0]


def test_verdicts_are_plain_columns() -> None:
    found = score(ROWS.astype(np.float32), LABELS)
    assert isinstance(found, TopKResult) and {len(column) for column in found} == {7}
