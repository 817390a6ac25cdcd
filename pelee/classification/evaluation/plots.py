"""Pictures of a classifier's measurement: its confusions, and a page of its most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.errors import ImageError
from data.images.image_io import read_image
from pelee.classification.evaluation.evaluate import Mistake
from pelee.plotting import BLUE, FAINT, INK, plot_matrix, save, short

READABLE_CLASSES = 40  # above, a matrix of all classes is a page of dots
BARS = 30
PAGE = (8, 5)  # pictures across and down
THUMBNAIL = 256  # pixels, the longer side on the page at most


def plot_confusions(confusion: np.ndarray, class_names: Sequence[str], folder: Path) -> Path:
    """Write confusion_matrix.png, or where classes are too many to read it the strongest confusions; return the path.

    Args:
        confusion: (C, C) int64, true classes in rows, what was said in columns.
    """
    if len(class_names) <= READABLE_CLASSES:
        path = folder / "confusion_matrix.png"
        plot_matrix(confusion, class_names, path, rows="true class", columns="said class")
    else:
        path = folder / "confusions.png"
        plot_strongest(confusion, class_names, path)
    return path


def strongest_confusions(confusion: np.ndarray, count: int = BARS) -> list[tuple[int, int, int, float]]:
    """The pairs of classes that are most often confused: (true id, said id, pictures, share of the true class's).

    Sorted by the share, then by the pictures.
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
    """Write the strongest confusions of (C, C) counts as bars: true class → said class."""
    from matplotlib.figure import Figure

    pairs = strongest_confusions(confusion)
    figure = Figure(figsize=(7.5, 1.0 + 0.22 * max(4, len(pairs))), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(pairs))
    bars = axes.barh(places, [100 * share for *_, share in pairs], color=BLUE, height=0.7)
    names = [f"{short(class_names[label], 24)} → {short(class_names[said], 24)}" for label, said, *_ in pairs]
    axes.set_yticks(places, names, fontsize=7, parse_math=False)
    axes.bar_label(bars, [str(count) for *_, count, _ in pairs], fontsize=6, color=FAINT, padding=2)
    axes.set_ylim(max(len(pairs), 1) - 0.5, -0.5)  # the strongest on top
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7, length=2, color=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_xlabel("% of the true class's pictures (their number beside the bar)", fontsize=8, color=INK)
    title = "the strongest confusions: true class → said class" if pairs else "no confusions"
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    save(figure, path)


def plot_mistakes(mistakes: Sequence[Mistake], class_names: Sequence[str], path: Path | str, title: str) -> None:
    """Write a page of the first 40 mistakes: each picture with what was said, its true class, and both scores."""
    from matplotlib.figure import Figure

    shown = mistakes[: PAGE[0] * PAGE[1]]
    columns = max(1, min(PAGE[0], len(shown)))
    rows = math.ceil(len(shown) / columns)
    side, text = 1.55, 0.42  # inches of a picture, and of the two lines below it
    width, height = max(7.0, side * columns + 0.2), (side + text) * rows + 0.65
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.25 / height, title, fontsize=9, color=INK, parse_math=False)
    legend = "red: what was said, green: what it is, each with its score"
    figure.text(0.1 / width, 1 - 0.45 / height, legend if shown else "no mistakes", fontsize=7, color=FAINT)
    for number, mistake in enumerate(shown):
        row, column = divmod(number, columns)
        left, top = 0.1 + column * side, 0.6 + row * (side + text)
        panel = figure.add_axes(
            (left / width, 1 - (top + side - 0.1) / height, (side - 0.1) / width, (side - 0.1) / height)
        )
        panel.set_axis_off()
        picture = _thumbnail(mistake.file)
        if picture is not None:
            panel.imshow(picture)
        for line, (name, score, colour) in enumerate(
            (
                (class_names[mistake.said], mistake.score, "#b42318"),
                (class_names[mistake.label], mistake.label_score, "#1a7f37"),
            )
        ):
            place = left / width, 1 - (top + side + 0.06 + 0.15 * line) / height
            figure.text(*place, f"{score:.2f} {short(name, 20)}", fontsize=6.5, color=colour, parse_math=False)
    save(figure, path)


def _thumbnail(file: Path) -> np.ndarray | None:
    """The picture, small enough that forty of them make a page of no more than a few megabytes; None if it is gone."""
    import cv2

    try:
        image = read_image(file)
    except ImageError:
        return None
    scale = THUMBNAIL / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
