"""Plots of a classifier's evaluation: its confusions, and a page of its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pelee.classification.evaluation.evaluate import Mistake
from pelee.plotting import BLUE, FAINT, INK, MARGIN, image_grid, plot_matrix, save, short, show_thumbnail

READABLE_CLASSES = 40  # a matrix of more classes cannot be read
BARS = 30
PAGE = (8, 5)  # columns and rows of images
THUMBNAIL = 256  # pixels, maximum of the longer side
RED, GREEN = "#b42318", "#1a7f37"


def plot_confusions(confusion: np.ndarray, class_names: Sequence[str], folder: Path) -> Path:
    """Write confusion_matrix.png, or confusions.png (the strongest ones) above 40 classes; return the path.

    Args:
        confusion: (C, C) int64, true classes in rows, predicted classes in columns.
    """
    if len(class_names) <= READABLE_CLASSES:
        path = folder / "confusion_matrix.png"
        plot_matrix(confusion, class_names, path, rows="true class", columns="predicted class")
    else:
        path = folder / "confusions.png"
        plot_strongest(confusion, class_names, path)
    return path


def strongest_confusions(confusion: np.ndarray, count: int = BARS) -> list[tuple[int, int, int, float]]:
    """The pairs of classes that are most often confused: (true id, predicted id, images, share of the true class's).

    Sorted by the share, then by the number of images, both descending.
    """
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    np.fill_diagonal(shares, 0)
    rows, columns = np.nonzero(shares)
    order = np.lexsort((-confusion[rows, columns], -shares[rows, columns]))[:count]
    return [
        (int(row), int(column), int(confusion[row, column]), float(shares[row, column]))
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def plot_strongest(confusion: np.ndarray, class_names: Sequence[str], path: Path | str) -> None:
    """Write the strongest confusions of (C, C) counts as a bar chart: true class → predicted class."""
    from matplotlib.figure import Figure

    pairs = strongest_confusions(confusion)
    figure = Figure(figsize=(7.5, 1.0 + 0.22 * max(4, len(pairs))), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(pairs))
    bars = axes.barh(places, [100 * share for *_, share in pairs], color=BLUE, height=0.7)
    names = [f"{short(class_names[label], 24)} → {short(class_names[predicted], 24)}" for label, predicted, *_ in pairs]
    axes.set_yticks(places, names, fontsize=7, parse_math=False)
    axes.bar_label(bars, [str(count) for *_, count, _ in pairs], fontsize=6, color=FAINT, padding=2)
    axes.set_ylim(max(len(pairs), 1) - 0.5, -0.5)  # the strongest on top
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7, length=2, color=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_xlabel("% of the true class's images (their number next to the bar)", fontsize=8, color=INK)
    title = "the strongest confusions: true class → predicted class" if pairs else "no confusions"
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    save(figure, path)


def plot_mistakes(mistakes: Sequence[Mistake], class_names: Sequence[str], path: Path | str, title: str) -> None:
    """Write a page of the first 40 mistakes: each image with its predicted and its true class, and both scores.

    An image that cannot be read leaves its cell empty.
    """
    shown = mistakes[: PAGE[0] * PAGE[1]]
    grid = image_grid(len(shown), columns=PAGE[0], side=1.55, caption=0.42, header=0.6, min_width=7.0)
    grid.text(MARGIN, 0.25, title, fontsize=9, color=INK)
    legend = "red: predicted class, green: true class, each with its score"
    grid.text(MARGIN, 0.45, legend if shown else "no mistakes", fontsize=7, color=FAINT)
    for cell, mistake in zip(grid.cells, shown, strict=True):
        show_thumbnail(cell.axes, mistake.file, THUMBNAIL)
        lines = (
            (class_names[mistake.predicted], mistake.score, RED),
            (class_names[mistake.label], mistake.label_score, GREEN),
        )
        for number, (name, score, color) in enumerate(lines):
            text = f"{score:.2f} {short(name, 20)}"
            grid.text(cell.left, cell.bottom + 0.16 + 0.15 * number, text, fontsize=6.5, color=color)
    save(grid.figure, path)
