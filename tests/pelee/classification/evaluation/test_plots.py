"""The plots of a classifier's measurement show their own data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pelee.classification.evaluation.evaluate import Mistake
from pelee.classification.evaluation.plots import plot_confusions, plot_mistakes, plot_strongest, strongest_confusions
from pelee.plotting import plot_matrix, short
from tests.support.lookup_classifier import grey


def test_the_strongest_confusions_by_hand() -> None:
    confusion = np.array([[8, 1, 1], [0, 1, 1], [0, 0, 0]])  # the third class has no picture
    # 1 of 2 before 1 of 10; the two of 10 in the order of the classes
    assert strongest_confusions(confusion) == [(1, 2, 1, 0.5), (0, 1, 1, 0.1), (0, 2, 1, 0.1)]
    assert strongest_confusions(confusion, 1) == [(1, 2, 1, 0.5)]
    assert strongest_confusions(np.diag([3, 4])) == []


def test_of_two_equal_shares_the_one_with_more_pictures_comes_first() -> None:
    assert strongest_confusions(np.array([[1, 1, 0], [0, 2, 2], [0, 0, 1]])) == [(1, 2, 2, 0.5), (0, 1, 1, 0.5)]


def test_bars_carry_names_and_counts(tmp_path: Path) -> None:
    plot_strongest(np.array([[8, 2], [0, 5]]), ["$dog", "cat"], tmp_path / "bars.svg")
    text = (tmp_path / "bars.svg").read_text()
    assert "<!-- $dog → cat -->" in text and "<!-- 2 -->" in text
    plot_strongest(np.diag([3, 4]), ["$dog", "cat"], tmp_path / "none.svg")
    assert "<!-- no confusions -->" in (tmp_path / "none.svg").read_text()


@pytest.mark.parametrize(("classes", "name"), [(40, "confusion_matrix.png"), (41, "confusions.png")])
def test_many_classes_are_bars(classes: int, name: str, tmp_path: Path) -> None:
    matrix = np.eye(classes, dtype=int) + np.eye(classes, k=1, dtype=int)
    assert plot_confusions(matrix, [f"class {label}" for label in range(classes)], tmp_path) == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert min(Image.open(tmp_path / name).size) > 500


def test_a_matrix_shows_shares_of_rows(tmp_path: Path) -> None:
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 4, 0]])
    names = ["$dog", "a name that is much too long", "cow"]
    plot_matrix(matrix, names, tmp_path / "m.svg", rows="true", columns="said", apart=1)
    text = (tmp_path / "m.svg").read_text()
    for share in ("75", "25", "20", "80"):
        assert f"<!-- {share} -->" in text
    assert "<!-- nan -->" not in text and "<!-- a name that is mu… -->" in text
    assert len(short("a name that is much too long")) == 18


def test_a_matrix_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected \\(2, 2\\)"):
        plot_matrix(np.zeros((3, 3), int), ["dog", "cat"], tmp_path / "m.png", rows="true", columns="said")
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_at_most_forty_mistakes_and_says_each(tmp_path: Path) -> None:
    files = [grey(tmp_path / f"{number}.png", 10 + number) for number in range(42)]
    mistakes = [Mistake(file, 0, 1, 0.99 - number / 100, 0.001) for number, file in enumerate(files)]
    plot_mistakes(mistakes, ["$dog", "cat"], tmp_path / "page.svg", "toys")
    text = (tmp_path / "page.svg").read_text()
    assert text.count("<image") == 40
    assert "<!-- 0.99 cat -->" in text and "<!-- 0.60 cat -->" in text and "<!-- 0.59 cat -->" not in text
    assert text.count("<!-- 0.00 $dog -->") == 40


def test_a_large_picture_is_shrunk_and_a_lost_one_left_blank(tmp_path: Path) -> None:
    large = grey(tmp_path / "large.png", 7, 3000, 1500)
    mistakes = [Mistake(large, 0, 1, 0.9, 0.1), Mistake(tmp_path / "lost.png", 1, 0, 0.8, 0.2)]
    plot_mistakes(mistakes, ["dog", "cat"], tmp_path / "page.svg", "toys")
    text = (tmp_path / "page.svg").read_text()
    assert text.count("<image") == 1 and "<!-- 0.80 dog -->" in text
    assert len(text) < 100_000


def test_no_mistakes_is_a_page_that_says_so(tmp_path: Path) -> None:
    plot_mistakes([], ["dog"], tmp_path / "page.svg", "toys")
    assert "<!-- no mistakes -->" in (tmp_path / "page.svg").read_text()
