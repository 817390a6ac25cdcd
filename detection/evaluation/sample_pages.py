"""A page of a split's best or worst pictures: what is there, what was said, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detection.evaluation.tide import BACKGROUND, BOTH, CLASS, DUPLICATE, KINDS, LOCALISATION, MISSED, RIGHT, Diagnosis
from pelee.plotting import FAINT, INK, MARGIN, image_grid, save, short, show_thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from data.datasets.records import Record


COLUMNS, ROWS = 4, 5
THUMBNAIL = 480  # pixels, the longer side on the page at most
COLOURS = {
    RIGHT: "#2da44e",
    LOCALISATION: "#ffb000",
    CLASS: "#ff3bb0",
    BOTH: "#c06bff",
    DUPLICATE: "#35d0e0",
    BACKGROUND: "#ff4b3e",
    MISSED: "#ffffff",
}


class PictureScore(NamedTuple):
    """How well a picture's objects were found, at a confidence.

    number: of its record; f1: 2 · right / (2 · right + wrong + unfound), 0 to 1; right, wrong: detections; unfound:
    objects that none is right about.
    """

    number: int
    f1: float
    right: int
    wrong: int
    unfound: int


def score_pictures(diagnosis: Diagnosis, pictures: int, confidence: float) -> list[PictureScore]:
    """The pictures from the best to the worst; those with neither an object nor a detection have no score.

    By F1; of equals that with more right comes first, then that with fewer wrong detections, then that with fewer
    objects not found: so the best are full pictures, and the worst those with most said and nothing right. Ignored
    objects and their detections count for nothing.
    """
    d = diagnosis
    shown = d.found.scores >= confidence
    unfound = ~d.objects.ignored & ~d.hit(confidence)
    counts = (
        np.bincount(of, minlength=pictures).tolist()
        for of in (
            d.found.pictures[shown & (d.kinds == RIGHT)],
            d.found.pictures[shown & (d.kinds >= 0)],
            d.objects.pictures[unfound],
        )
    )
    scores = [
        PictureScore(number, 2 * right / (2 * right + wrong + lost), right, wrong, lost)
        for number, (right, wrong, lost) in enumerate(zip(*counts, strict=True))
        if right + wrong + lost
    ]
    return sorted(scores, key=lambda score: (-score.f1, -score.right, score.wrong, score.unfound))


def write_pages(
    diagnosis: Diagnosis, records: Sequence[Record], class_names: Sequence[str], confidence: float, folder: Path
) -> None:
    """Write best_pictures.png and worst_pictures.png, 20 pictures each, the best or the worst first."""
    scores = score_pictures(diagnosis, len(records), confidence)
    page = COLUMNS * ROWS
    for name, chosen in (("best", scores[:page]), ("worst", scores[::-1][:page])):
        title = f"The {len(chosen)} {name} of {len(records):,} pictures, by F1 of the detections from {confidence:g} on"
        plot_pictures(diagnosis, records, class_names, confidence, chosen, folder / f"{name}_pictures.png", title)


def plot_pictures(
    diagnosis: Diagnosis,
    records: Sequence[Record],
    class_names: Sequence[str],
    confidence: float,
    chosen: Sequence[PictureScore],
    path: Path | str,
    title: str,
) -> None:
    """Write a page of pictures with detections (colour tells the kind) and objects (dashed where not found).

    `path`'s suffix chooses the format. A picture that is gone leaves its place empty.
    """
    grid = image_grid(len(chosen), columns=COLUMNS, side=2.6, caption=0.24, header=0.65, min_width=9.0)
    grid.text(MARGIN, 0.25, title, fontsize=10, color=INK)
    left = MARGIN
    for kind, color in COLOURS.items():
        name = {RIGHT: "right", MISSED: "not found (dashed)"}.get(kind) or KINDS[kind]
        frame = {"facecolor": color, "edgecolor": FAINT, "pad": 1.5, "linewidth": 0.5}
        grid.text(left, 0.5, name, fontsize=8, color="black", bbox=frame)
        left += 0.3 + 0.075 * len(name)
    for cell, score in zip(grid.cells, chosen, strict=True):
        record = records[score.number]
        _draw(cell.axes, diagnosis, record, score.number, class_names, confidence)
        caption = f"{record.image_id}: F1 {score.f1:.2f}, right {score.right}, wrong {score.wrong}, "
        grid.text(cell.left, cell.bottom + 0.14, f"{caption}not found {score.unfound}", fontsize=6.5, color=INK)
    save(grid.figure, path)


def _draw(
    panel: Axes, d: Diagnosis, record: Record, number: int, class_names: Sequence[str], confidence: float
) -> None:
    """One picture with its boxes, in the picture's own pixels."""
    if not show_thumbnail(panel, record.image, THUMBNAIL):
        return
    unfound = ~d.objects.ignored & ~d.hit(confidence) & (d.objects.pictures == number)
    for index in np.flatnonzero(unfound):
        _box(panel, d.objects.boxes[index], COLOURS[MISSED], class_names[d.objects.labels[index]], dashed=True)
    shown = (d.found.scores >= confidence) & (d.kinds >= RIGHT) & (d.found.pictures == number)
    for index in np.flatnonzero(shown)[::-1]:  # the best on top
        name = f"{short(class_names[d.found.labels[index]], 12)} {d.found.scores[index]:.2f}"
        _box(panel, d.found.boxes[index], COLOURS[int(d.kinds[index])], name)


def _box(panel: Axes, box: np.ndarray, colour: str, text: str, dashed: bool = False) -> None:
    """A box with its text: detections' at the top, objects' at the bottom."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box.tolist()
    style = (0, (4, 3)) if dashed else "solid"
    for line, ink in ((2.2, "black"), (1.2, colour)):
        panel.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ink, linewidth=line, linestyle=style)
        )
    panel.text(
        x0, y1 if dashed else y0, text, fontsize=5.5, color="black", clip_on=True, parse_math=False,
        va="bottom" if dashed else "top", bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )  # fmt: skip
