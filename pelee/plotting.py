"""What the project's plots share: colours, short names, saving, and a matrix of confusions.

Drawn with matplotlib's `Figure` alone, not pyplot: no display, no global state, safe in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.atomic_files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


BLUE, INK, FAINT = "#1f6fb4", "#222222", "#999999"


def plot_matrix(
    matrix: np.ndarray, names: Sequence[str], path: Path | str, *, rows: str, columns: str, apart: int = 0
) -> None:
    """Write a (C, C) matrix of counts, each row as shares of its sum.

    A row without a count stays empty. Shares of less than 1 % (of 10 %, above 30 classes) stay without a number.

    Args:
        names: C, of the rows and of the columns.
        path: its suffix (.png, .svg, .pdf) chooses the format.
        rows, columns: what they are, for the axes.
        apart: so many rows and columns at the end are set apart by a line.

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
    # the root keeps small confusions visible beside a diagonal of 80 %
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
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
        colour, text = "white" if shares[row, column] > 35 else INK, f"{shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=4.5 if many else 7, color=colour)
    axes.set_xlabel(columns, fontsize=9, color=INK)
    axes.set_ylabel(rows, fontsize=9, color=INK)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.set_label("% of the row", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
    save(figure, path)


def short(name: str, limit: int = 18) -> str:
    """A name of at most `limit` characters, an ellipsis for the rest."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure, whole or not at all; the suffix chooses the format."""
    with atomic_path(path) as aside:
        figure.savefig(aside, dpi=140)
