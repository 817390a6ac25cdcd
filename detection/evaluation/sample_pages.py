"""Sample pages: the best and worst images of a split with predictions, ground truths and error kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detection.evaluation.tide import (
    BKG,
    BOTH,
    CLS,
    DUPE,
    ERROR_KINDS,
    KIND_TITLES,
    LOC,
    MISS,
    TRUE_POSITIVE,
    Diagnosis,
)
from pelee.plotting import FAINT, INK, MARGIN, image_grid, save, short, show_thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from data.datasets.records import Record


COLUMNS, ROWS = 4, 5
THUMBNAIL = 480  # maximum longer side on the page, in pixels
COLORS = {
    TRUE_POSITIVE: "#2da44e",
    LOC: "#ffb000",
    CLS: "#ff3bb0",
    BOTH: "#c06bff",
    DUPE: "#35d0e0",
    BKG: "#ff4b3e",
    MISS: "#ffffff",
}


class ImageScore(NamedTuple):
    """F1 of an image at a confidence.

    Attributes:
        number: index of its record.
        f1: 2 · right / (2 · right + wrong + missed), 0 to 1.
        right, wrong: number of true and false positives.
        missed: number of ground truths without a true positive.
    """

    number: int
    f1: float
    right: int
    wrong: int
    missed: int


def score_images(diagnosis: Diagnosis, images: int, confidence: float) -> list[ImageScore]:
    """Scores of the images from best to worst, without images that have neither ground truths nor predictions.

    Sorted by F1, then by more true positives, fewer false positives, and fewer missed ground truths. So the best images
    have many objects, and the worst many false positives. Ignored ground truths and their predictions do not count.
    """
    d = diagnosis
    shown = d.predictions.scores >= confidence
    missed = ~d.ground_truths.ignored & ~d.detected(confidence)
    counts = (
        np.bincount(image, minlength=images).tolist()
        for image in (
            d.predictions.images[shown & (d.kinds == TRUE_POSITIVE)],
            d.predictions.images[shown & (d.kinds >= 0)],
            d.ground_truths.images[missed],
        )
    )
    scores = [
        ImageScore(number, 2 * right / (2 * right + wrong + lost), right, wrong, lost)
        for number, (right, wrong, lost) in enumerate(zip(*counts, strict=True))
        if right + wrong + lost
    ]
    return sorted(scores, key=lambda score: (-score.f1, -score.right, score.wrong, score.missed))


def write_pages(
    diagnosis: Diagnosis, records: Sequence[Record], class_names: Sequence[str], confidence: float, folder: Path
) -> None:
    """Write best_pictures.png and worst_pictures.png, 20 images each, the best or the worst first."""
    scores = score_images(diagnosis, len(records), confidence)
    page = COLUMNS * ROWS
    for name, chosen in (("best", scores[:page]), ("worst", scores[::-1][:page])):
        title = f"The {len(chosen)} {name} of {len(records):,} images, by F1 of the detections from {confidence:g} on"
        plot_samples(diagnosis, records, class_names, confidence, chosen, folder / f"{name}_pictures.png", title)


def plot_samples(
    diagnosis: Diagnosis,
    records: Sequence[Record],
    class_names: Sequence[str],
    confidence: float,
    chosen: Sequence[ImageScore],
    path: Path | str,
    title: str,
) -> None:
    """Write a page of images with predictions (colored by kind) and missed ground truths (dashed).

    The suffix of `path` selects the format. The cell of an image that cannot be read stays empty.
    """
    grid = image_grid(len(chosen), columns=COLUMNS, side=2.6, caption=0.24, header=0.65, min_width=9.0)
    grid.text(MARGIN, 0.25, title, fontsize=10, color=INK)
    left = MARGIN
    for kind, color in COLORS.items():
        name = {TRUE_POSITIVE: "right", MISS: "not found (dashed)"}.get(kind) or KIND_TITLES[ERROR_KINDS[kind]]
        frame = {"facecolor": color, "edgecolor": FAINT, "pad": 1.5, "linewidth": 0.5}
        grid.text(left, 0.5, name, fontsize=8, color="black", bbox=frame)
        left += 0.3 + 0.075 * len(name)
    for cell, score in zip(grid.cells, chosen, strict=True):
        record = records[score.number]
        _draw(cell.axes, diagnosis, record, score.number, class_names, confidence)
        caption = f"{record.image_id}: F1 {score.f1:.2f}, right {score.right}, wrong {score.wrong}, "
        grid.text(cell.left, cell.bottom + 0.14, f"{caption}not found {score.missed}", fontsize=6.5, color=INK)
    save(grid.figure, path)


def _draw(
    panel: Axes, d: Diagnosis, record: Record, number: int, class_names: Sequence[str], confidence: float
) -> None:
    """Draw an image with its boxes, in pixels of the image."""
    if not show_thumbnail(panel, record.image, THUMBNAIL):
        return
    truths, predictions = d.ground_truths, d.predictions
    missed = ~truths.ignored & ~d.detected(confidence) & (truths.images == number)
    for index in np.flatnonzero(missed):
        _box(panel, truths.boxes[index], COLORS[MISS], class_names[truths.labels[index]], dashed=True)
    shown = (predictions.scores >= confidence) & (d.kinds >= TRUE_POSITIVE) & (predictions.images == number)
    for index in np.flatnonzero(shown)[::-1]:  # highest score on top
        name = f"{short(class_names[predictions.labels[index]], 12)} {predictions.scores[index]:.2f}"
        _box(panel, predictions.boxes[index], COLORS[int(d.kinds[index])], name)


def _box(panel: Axes, box: np.ndarray, color: str, text: str, dashed: bool = False) -> None:
    """Draw a box with its text: at the top for predictions, at the bottom for ground truths."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box.tolist()
    style = (0, (4, 3)) if dashed else "solid"
    for line, ink in ((2.2, "black"), (1.2, color)):
        panel.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ink, linewidth=line, linestyle=style)
        )
    panel.text(
        x0, y1 if dashed else y0, text, fontsize=5.5, color="black", clip_on=True, parse_math=False,
        va="bottom" if dashed else "top", bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )  # fmt: skip
