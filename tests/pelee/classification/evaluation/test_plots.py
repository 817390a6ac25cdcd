"""Plots of a classifier's evaluation: confusions and the page of mistakes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pelee.classification.evaluation.evaluate import Mistake
from pelee.classification.evaluation.plots import plot_confusions, plot_mistakes, plot_strongest, strongest_confusions
from tests.support.lookup_classifier import gray_image


def test_strongest_confusions_by_hand() -> None:
    confusion = np.array([[8, 1, 1], [0, 1, 1], [0, 0, 0]])  # the third class has no image
    # 1 of 2 before 1 of 10; the two of 10 in the order of the classes
    assert strongest_confusions(confusion) == [(1, 2, 1, 0.5), (0, 1, 1, 0.1), (0, 2, 1, 0.1)]
    assert strongest_confusions(confusion, 1) == [(1, 2, 1, 0.5)]
    assert strongest_confusions(np.diag([3, 4])) == []


def test_strongest_confusions_sort_equal_shares_by_the_number_of_images() -> None:
    assert strongest_confusions(np.array([[1, 1, 0], [0, 2, 2], [0, 0, 1]])) == [(1, 2, 2, 0.5), (0, 1, 1, 0.5)]


@pytest.mark.slow
def test_plot_strongest_shows_names_and_counts(tmp_path: Path) -> None:
    plot_strongest(np.array([[8, 2], [0, 5]]), ["$dog", "cat"], tmp_path / "bars.svg")
    text = (tmp_path / "bars.svg").read_text()
    assert "<!-- $dog → cat -->" in text and "<!-- 2 -->" in text
    plot_strongest(np.diag([3, 4]), ["$dog", "cat"], tmp_path / "none.svg")
    assert "<!-- no confusions -->" in (tmp_path / "none.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "name"), [(40, "confusion_matrix.png"), (41, "confusions.png")])
def test_plot_confusions_of_many_classes_draws_bars(classes: int, name: str, tmp_path: Path) -> None:
    matrix = np.eye(classes, dtype=int) + np.eye(classes, k=1, dtype=int)
    assert plot_confusions(matrix, [f"class {label}" for label in range(classes)], tmp_path) == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert min(Image.open(tmp_path / name).size) > 500


@pytest.mark.slow
def test_plot_mistakes_shows_at_most_forty_with_their_scores(tmp_path: Path) -> None:
    files = [gray_image(tmp_path / f"{number}.png", 10 + number) for number in range(42)]
    mistakes = [Mistake(file, 0, 1, 0.99 - number / 100, 0.001) for number, file in enumerate(files)]
    plot_mistakes(mistakes, ["$dog", "cat"], tmp_path / "page.svg", "toys")
    text = (tmp_path / "page.svg").read_text()
    assert text.count("<image") == 40
    assert "<!-- 0.99 cat -->" in text and "<!-- 0.60 cat -->" in text and "<!-- 0.59 cat -->" not in text
    assert text.count("<!-- 0.00 $dog -->") == 40


@pytest.mark.slow
def test_plot_mistakes_shrinks_large_images_and_skips_missing_ones(tmp_path: Path) -> None:
    large = gray_image(tmp_path / "large.png", 7, 3000, 1500)
    mistakes = [Mistake(large, 0, 1, 0.9, 0.1), Mistake(tmp_path / "lost.png", 1, 0, 0.8, 0.2)]
    plot_mistakes(mistakes, ["dog", "cat"], tmp_path / "page.svg", "toys")
    text = (tmp_path / "page.svg").read_text()
    assert text.count("<image") == 1 and "<!-- 0.80 dog -->" in text
    assert len(text) < 100_000


def test_plot_mistakes_without_a_mistake(tmp_path: Path) -> None:
    plot_mistakes([], ["dog"], tmp_path / "page.svg", "toys")
    assert "<!-- no mistakes -->" in (tmp_path / "page.svg").read_text()
