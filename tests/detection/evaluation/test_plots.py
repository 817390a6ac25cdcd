"""The plots are images of their own data: written whole, at one class and at eighty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.evaluation.plots import _outline, plot_confusion_matrix, plot_errors, plot_precision_recall
from detection.evaluation.tide import KIND_TITLES, DetectionErrors
from detection.evaluation.voc_ap import PrecisionRecallCurve, VocResult


def result(classes: int, absent: tuple[int, ...] = ()) -> VocResult:
    """Curves that fall at random; the `absent` classes have none."""
    rng = np.random.default_rng(0)
    aps, curves = np.full(classes, np.nan), []
    for label in range(classes):
        count = 0 if label in absent else 12
        recall, precision = np.arange(1, count + 1) / 20, np.sort(rng.random(count))[::-1]
        curves.append(PrecisionRecallCurve(recall, precision, precision))
        if count:
            aps[label] = precision.mean() / 2
    objects = np.where(np.isnan(aps), 0, 20)
    # a dollar sign would start a formula, and a bracket is markup elsewhere
    names = tuple(f"$class_{label} [{'x' * label}]" for label in range(classes))
    return VocResult(names, 0.5, objects, aps, aps, tuple(curves))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 3, 20])
def test_precision_recall_is_an_image_with_ink(classes: int, tmp_path: Path) -> None:
    path = tmp_path / "plots" / "pr.png"
    plot_precision_recall(result(classes), path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0]) > 100
    assert blue.sum() > 100 * classes
    assert [item.name for item in path.parent.iterdir()] == ["pr.png"]


@pytest.mark.slow
def test_precision_recall_without_any_object(tmp_path: Path) -> None:
    plot_precision_recall(result(2, absent=(0, 1)), tmp_path / "pr.svg")
    text = (tmp_path / "pr.svg").read_text()
    assert text.count("<!-- no object -->") == 2


@pytest.mark.slow
def test_the_best_class_comes_first(tmp_path: Path) -> None:
    curve = PrecisionRecallCurve(np.array([1.0]), np.array([1.0]), np.array([0.9]))
    aps = np.array([0.25, np.nan, 0.75])
    plot_precision_recall(
        VocResult(("low", "none", "high"), 0.5, np.array([1, 0, 1]), aps, aps, (curve,) * 3), tmp_path / "pr.svg"
    )
    text = (tmp_path / "pr.svg").read_text()
    assert text.index("<!-- high -->") < text.index("<!-- low -->") < text.index("<!-- none -->")
    assert "<!-- 75.0 -->" in text


def test_an_outline_keeps_the_points_where_recall_grows() -> None:
    recall, precision = _outline(np.array([0.0, 0.5, 0.5, 1.0]), np.array([0.0, 0.5, 0.33, 0.5]))
    np.testing.assert_array_equal(recall, [0, 0.5, 1.0])
    np.testing.assert_array_equal(precision, [0.5, 0.5, 0.5])
    empty = _outline(np.zeros(0), np.zeros(0))
    np.testing.assert_array_equal(empty, [[0], [0]])


@pytest.mark.slow
def test_confusion_matrix_shows_shares_of_rows(tmp_path: Path) -> None:
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 4, 0]])
    plot_confusion_matrix(matrix, ["$dog", "cat"], tmp_path / "cm.svg")
    text = (tmp_path / "cm.svg").read_text()
    # 30 and 10 of 40, 1 and 4 of 5; no row of no objects
    for share in ("75", "25", "20", "80"):
        assert f"<!-- {share} -->" in text
    assert "nan" not in text.lower()
    assert "<!-- $dog -->" in text


@pytest.mark.slow
def test_confusion_matrix_of_eighty_classes(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).integers(0, 3, (81, 81)) + 100 * np.eye(81, dtype=int)
    plot_confusion_matrix(matrix, [f"class {label}" for label in range(80)], tmp_path / "cm.png")
    width, height = Image.open(tmp_path / "cm.png").size
    assert min(width, height) > 80 * 20  # at least 20 pixels a class: its name can be read


def test_a_matrix_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected \\(3, 3\\)"):
        plot_confusion_matrix(np.zeros((2, 2), int), ["dog", "cat"], tmp_path / "cm.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_errors_show_their_number_and_their_worth(tmp_path: Path) -> None:
    counts = np.arange(12).reshape(6, 2) * 1000
    gains = np.array([[k / 100, np.nan] for k in range(6)])
    plot_errors(DetectionErrors(0.3, counts, gains, ()), tmp_path / "errors.svg")
    text = (tmp_path / "errors.svg").read_text()
    for kind, (first, second), gain in zip(KIND_TITLES.values(), counts.tolist(), range(6), strict=True):
        for word in (kind, f"{first + second:,}", f"{gain}.0"):
            assert f"<!-- {word} -->" in text


@pytest.mark.slow
def test_errors_of_a_split_without_objects(tmp_path: Path) -> None:
    plot_errors(DetectionErrors(0.3, np.zeros((6, 1), int), np.full((6, 1), np.nan), ()), tmp_path / "errors.svg")
    assert "nan" not in (tmp_path / "errors.svg").read_text().lower()
