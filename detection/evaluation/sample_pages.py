"""A page of a split's best or worst pictures: what is there, what was said, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.errors import ImageError
from data.images.image_io import read_image
from detection.evaluation.tide import BACKGROUND, BOTH, CLASS, DUPLICATE, KINDS, LOCALISATION, MISSED, RIGHT, Diagnosis
from pelee.plotting import FAINT, INK, save, short

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
    from matplotlib.figure import Figure

    columns = max(1, min(COLUMNS, len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    side, text = 2.6, 0.24  # inches of a picture, and of the line below it
    width, height = max(9.0, side * columns + 0.2), (side + text) * rows + 0.7
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.25 / height, title, fontsize=10, color=INK)
    place = 0.1
    for kind, colour in COLOURS.items():
        name = {RIGHT: "right", MISSED: "not found (dashed)"}.get(kind) or KINDS[kind]
        figure.text(
            place / width, 1 - 0.5 / height, name, fontsize=8, color="black",
            bbox={"facecolor": colour, "edgecolor": FAINT, "pad": 1.5, "linewidth": 0.5},
        )  # fmt: skip
        place += 0.3 + 0.075 * len(name)
    for number, score in enumerate(chosen):
        row, column = divmod(number, columns)
        left, top = 0.1 + column * side, 0.65 + row * (side + text)
        panel = figure.add_axes(
            (left / width, 1 - (top + side - 0.1) / height, (side - 0.1) / width, (side - 0.1) / height)
        )
        panel.set_axis_off()
        _draw(panel, diagnosis, records[score.number], score.number, class_names, confidence)
        line = f"{records[score.number].image_id}: F1 {score.f1:.2f}, right {score.right}, wrong {score.wrong}, "
        figure.text(
            left / width, 1 - (top + side + 0.04) / height, f"{line}not found {score.unfound}",
            fontsize=6.5, color=INK, parse_math=False,
        )  # fmt: skip
    save(figure, path)


def _draw(
    panel: Axes, d: Diagnosis, record: Record, number: int, class_names: Sequence[str], confidence: float
) -> None:
    """One picture with its boxes, in the picture's own pixels."""
    import cv2

    try:
        image = read_image(record.image)
    except ImageError:
        return
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL / max(width, height))
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    panel.imshow(small, extent=(0, width, height, 0))
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
