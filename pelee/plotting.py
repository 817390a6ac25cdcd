"""Shared parts of the project's plots: colors, short names, saving, a confusion matrix, a grid of images.

Drawn with matplotlib's `Figure` alone, not pyplot: no display, no global state, thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.atomic_files import atomic_path
from data.errors import ImageError
from data.images.image_io import read_image
from data.images.image_slice import ImageFile
from data.text.fonts import find_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLUE, INK, FAINT = "#1f6fb4", "#222222", "#999999"
MARGIN = 0.1  # inches, left of a grid of images and between its cells


def plot_matrix(
    matrix: np.ndarray, names: Sequence[str], path: Path | str, *, rows: str, columns: str, apart: int = 0
) -> None:
    """Write a (C, C) matrix of counts as a heat map, each row as shares of its sum.

    A row without a count stays empty. Shares of less than 1 % (10 % above 30 classes) carry no number.

    Args:
        names: C, of the rows and of the columns.
        path: its suffix (.png, .svg, .pdf) chooses the format.
        rows, columns: labels of the axes.
        apart: number of rows and columns at the end that a line separates from the others.

    Raises:
        ValueError: the matrix has not one row and one column for each name.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"a matrix of {matrix.shape} for {len(names)} names; expected {(len(names), len(names))}")
    labels = [short(name) for name in names]
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    many = len(names) > 31
    cell = 0.19 if many else 0.38
    side = max(3.0, cell * len(names))
    figure = Figure(figsize=(side + 2.2, side + 1.0), layout="constrained")
    axes = figure.subplots()
    # the square root keeps small confusions visible next to a diagonal of 80 %
    heat_map = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    ticks, size = np.arange(len(names)), 6 if many else 8
    axes.set_xticks(ticks, labels, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(ticks, labels, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    if apart:
        axes.axhline(len(names) - apart - 0.5, color=FAINT, linewidth=0.8)
        axes.axvline(len(names) - apart - 0.5, color=FAINT, linewidth=0.8)
    axes.spines[:].set_visible(False)
    for row, column in np.argwhere(shares >= (10.0 if many else 1.0)):
        color, text = "white" if shares[row, column] > 35 else INK, f"{shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=4.5 if many else 7, color=color)
    axes.set_xlabel(columns, fontsize=9, color=INK)
    axes.set_ylabel(rows, fontsize=9, color=INK)
    bar = figure.colorbar(heat_map, ax=axes, shrink=0.6, pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.set_label("% of the row", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
    save(figure, path)


class GridCell(NamedTuple):
    """One cell of an `ImageGrid`: the axes for its image, and its corner below the image in inches from the top left
    corner of the page, where its caption starts."""

    axes: Axes
    left: float
    bottom: float


class ImageGrid(NamedTuple):
    """A page of images in rows and columns.

    Attributes:
        width, height: of the page in inches.
        cells: row by row.
    """

    figure: Figure
    width: float
    height: float
    cells: list[GridCell]

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line of text with its baseline at (left, top), in inches from the page's top left corner."""
        self.figure.text(left / self.width, 1 - top / self.height, text, parse_math=False, **style)


def image_grid(count: int, *, columns: int, side: float, caption: float, header: float, min_width: float) -> ImageGrid:
    """Lay out a page of `count` square cells without ticks or frames; the caller draws and saves it.

    Args:
        columns: at most; fewer where there are fewer images.
        side: of a cell in inches, with the margin to the next one.
        caption, header: height in inches of the text below each image, and of the text above the grid.
        min_width: least width of the page in inches, for its header.
    """
    from matplotlib.figure import Figure

    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    width, height = max(min_width, side * columns + 2 * MARGIN), (side + caption) * rows + header + MARGIN / 2
    figure = Figure(figsize=(width, height))
    cells = []
    image = side - MARGIN
    for number in range(count):
        row, column = divmod(number, columns)
        left, bottom = MARGIN + column * side, header + row * (side + caption) + image
        axes = figure.add_axes((left / width, 1 - bottom / height, image / width, image / height))
        axes.set_axis_off()
        cells.append(GridCell(axes, left, bottom))
    return ImageGrid(figure, width, height, cells)


def show_thumbnail(axes: Axes, file: ImageFile, limit: int) -> bool:
    """Draw an image file, its longer side reduced to `limit` pixels, in coordinates of the file's own pixels.

    Thumbnails keep a page of dozens of images below a few megabytes. Returns False and draws nothing where the file
    cannot be read.
    """
    import cv2

    try:
        image = read_image(file)
    except ImageError:
        return False
    height, width = image.shape[:2]
    scale = limit / max(width, height)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    axes.imshow(image, extent=(0, width, height, 0))
    return True


def short(name: str, limit: int = 18) -> str:
    """A name cut to at most `limit` characters, an ellipsis in place of the rest."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure atomically; the suffix chooses the format."""
    _use_fonts_for_names(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=140)


def _use_fonts_for_names(figure: Figure) -> None:
    """Give texts in scripts that matplotlib's own font lacks an installed font that has them, behind its own."""
    from matplotlib.font_manager import FontProperties, fontManager
    from matplotlib.text import Text

    figure.draw_without_rendering()  # axes make their labels late
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        path = None if text.get_text().isascii() else find_font(text.get_text())
        if path is not None:
            fontManager.addfont(path)
            text.set_fontfamily([*text.get_fontfamily(), FontProperties(fname=path).get_name()])
