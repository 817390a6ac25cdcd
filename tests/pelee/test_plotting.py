"""Shared parts of plots: confusion matrix, image grid, thumbnails."""

from pathlib import Path

import numpy as np
import pytest

from pelee import plotting
from pelee.plotting import image_grid, plot_matrix, short, show_thumbnail
from tests.support.lookup_classifier import gray_image


@pytest.mark.slow
def test_plot_matrix_shows_shares_of_rows(tmp_path: Path) -> None:
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 4, 0]])
    names = ["$dog", "a name that is much too long", "cow"]
    plot_matrix(matrix, names, tmp_path / "m.svg", rows="true", columns="said", apart=1)
    text = (tmp_path / "m.svg").read_text()
    for share in ("75", "25", "20", "80"):
        assert f"<!-- {share} -->" in text
    assert "<!-- nan -->" not in text and "<!-- a name that is mu… -->" in text
    assert len(short("a name that is much too long")) == 18


def test_plot_matrix_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected \\(2, 2\\)"):
        plot_matrix(np.zeros((3, 3), int), ["dog", "cat"], tmp_path / "m.png", rows="true", columns="said")
    assert list(tmp_path.iterdir()) == []


def test_image_grid_has_square_cells_in_rows() -> None:
    grid = image_grid(5, columns=3, side=2.0, caption=0.5, header=1.0, min_width=4.0)
    assert (grid.width, grid.height) == pytest.approx((6.2, 6.05))
    assert [(cell.left, cell.bottom) for cell in grid.cells] == [
        pytest.approx(corner) for corner in ((0.1, 2.9), (2.1, 2.9), (4.1, 2.9), (0.1, 5.4), (2.1, 5.4))
    ]
    for cell in grid.cells:
        place = cell.axes.get_position()
        assert (place.width * grid.width, place.height * grid.height) == pytest.approx((1.9, 1.9))
        assert (place.x0 * grid.width, (1 - place.y0) * grid.height) == pytest.approx((cell.left, cell.bottom))


def test_image_grid_without_images_is_its_header() -> None:
    grid = image_grid(0, columns=3, side=2.0, caption=0.5, header=1.0, min_width=4.0)
    assert (grid.width, grid.height, grid.cells) == (4.0, pytest.approx(1.05), [])


@pytest.mark.slow
def test_show_thumbnail_shrinks_large_images_and_keeps_their_coordinates(tmp_path: Path) -> None:
    cell = image_grid(1, columns=1, side=2.0, caption=0.5, header=1.0, min_width=2.0).cells[0]
    assert show_thumbnail(cell.axes, gray_image(tmp_path / "large.png", 7, 3000, 1500), 300)
    (shown,) = cell.axes.get_images()
    assert np.shape(shown.get_array()) == (150, 300, 3) and shown.get_extent() == [0, 3000, 1500, 0]
    assert not show_thumbnail(cell.axes, tmp_path / "lost.png", 300) and len(cell.axes.get_images()) == 1


def test_names_in_other_scripts_get_a_font_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The font is searched with any text that is not ASCII; matplotlib's own stays the first."""
    import matplotlib
    from matplotlib.figure import Figure

    other = Path(matplotlib.get_data_path(), "fonts/ttf/STIXGeneral.ttf")
    asked: list[str] = []
    monkeypatch.setattr(plotting, "find_font", lambda text: asked.append(text) or other)
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks([0], ["ж"])
    title = axes.set_title("dog")
    plotting.save(figure, tmp_path / "plot.png")
    (label,) = axes.get_xticklabels()
    assert label.get_fontfamily() == ["sans-serif", "STIXGeneral"] and set(asked) == {"ж"}
    assert title.get_fontfamily() == ["sans-serif"]
