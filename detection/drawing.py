"""Drawing of detections: boxes, names and scores, sized to the picture, coloured by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from supervision import Detections


# Twenty colours far apart from each other, so that VOC's classes all differ; further classes begin again.
COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#800000", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4",
    "#469990", "#dcbeff", "#9a6324", "#fffac8", "#f58231", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9",
)  # fmt: skip
FONT = cv2.FONT_HERSHEY_SIMPLEX
MIN_SCALE, MAX_SCALE = 0.4, 2.0  # of OpenCV's font: below the first it cannot be read


def annotate(image: np.ndarray, detections: "Detections") -> np.ndarray:
    """Return a copy of an (H, W, 3) uint8 RGB picture with its detections drawn, the best on top."""
    assert detections.confidence is not None and detections.class_id is not None
    names = detections.data.get("class_name", detections.class_id)
    return draw(np.array(image, order="C"), detections.xyxy, detections.confidence, detections.class_id, names)


def draw(
    scene: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    class_ids: np.ndarray,
    names: "Sequence[object] | np.ndarray",
) -> np.ndarray:
    """Draw on a picture itself, and return it.

    A label stands above its box, and is moved as far as it takes to be inside the picture. OpenCV draws: it is many
    times as fast as supervision's annotators, which need not be imported then; a test holds that both draw the same.

    Args:
        scene: (H, W, 3) uint8 RGB, C-contiguous.
        boxes: (k, 4) xyxy in its pixels.
        scores: (k,).
        class_ids: (k,) ints, which choose the colours; -1 is grey.
        names: of each of the k.
    """
    if len(boxes) == 0:
        return scene
    height, width = scene.shape[:2]
    order = np.argsort(scores, kind="stable")
    labels = [label_text(names[index], scores[index]) for index in order]
    colours = [colour_of(class_id) for class_id in class_ids[order].tolist()]
    boxes = boxes[order]

    line = line_width(scene)
    # Edges on the last pixels at the most, so that a box that fills the picture shows all four lines.
    limits = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    for (x1, y1, x2, y2), colour in zip(np.clip(boxes, 0, limits).astype(int).tolist(), colours, strict=True):
        cv2.rectangle(scene, (x1, y1), (x2, y2), colour, line)

    style = text_style(width, height, labels)
    for (x1, y1), label, colour in zip(boxes[:, :2].tolist(), labels, colours, strict=True):
        draw_label(scene, label, (x1, y1), colour, style)
    return scene


def draw_label(
    scene: np.ndarray,
    label: str,
    corner: tuple[float, float],
    colour: tuple[int, int, int],
    style: tuple[float, int, int],
) -> None:
    """Write on a filled box whose lower left corner is there, or as near as it takes to be inside the picture.

    style: as `text_style` returns it.
    """
    height, width = scene.shape[:2]
    scale, thickness, padding = style
    text_width, text_height = _text_size(label, scale, thickness)
    box_width, box_height = text_width + 2 * padding, text_height + 2 * padding
    left = int(min(max(corner[0], 0), max(width - 1 - box_width, 0)))
    bottom = int(min(max(corner[1], min(box_height, height - 1)), height - 1))
    top = bottom - box_height
    cv2.rectangle(scene, (left, top), (left + box_width, bottom), colour, cv2.FILLED)
    ink = (0, 0, 0) if _is_light(colour) else (255, 255, 255)
    place = (left + padding, top + padding + text_height)
    cv2.putText(scene, label, place, FONT, scale, ink, thickness, cv2.LINE_AA)


def draw_path(scene: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], *, closed: bool = False) -> None:
    """Draw straight lines from point to point, (n, 2) in pixels, with a dark edge that shows on any picture."""
    corners = [np.asarray(points).round().astype(np.int32)]
    width = line_width(scene)
    cv2.polylines(scene, corners, closed, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.polylines(scene, corners, closed, colour, width, cv2.LINE_AA)


def line_width(scene: np.ndarray) -> int:
    """Return how many pixels wide a line is in a picture of that size: 2 at 480, rounded up."""
    return -(-min(scene.shape[:2]) // 240)


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour, RGB, of a class or track."""
    return _rgb(COLOURS[number % len(COLOURS)])


def label_text(name: object, score: float) -> str:
    """Return "name score"."""
    return f"{name} {score:.2f}"


def text_style(width: int, height: int, labels: Sequence[str]) -> tuple[float, int, int]:
    """Return OpenCV's font scale, stroke thickness and padding (pixels) for a picture of that size.

    The scale grows with the picture; it shrinks below what can be read only where the longest label is wider than
    the whole picture.
    """
    scale = min(max(min(width, height) / 900, MIN_SCALE), MAX_SCALE)
    padding = max(2, round(6 * scale))
    widest = max(_text_size(label, scale, 1)[0] for label in labels) + 2 * padding
    scale *= min(1.0, width / widest)
    return scale, max(1, round(1.5 * scale)), padding


def _text_size(label: str, scale: float, thickness: int) -> tuple[int, int]:
    """(width, height) in pixels."""
    width, height = cv2.getTextSize(label, FONT, scale, thickness)[0]
    return width, height


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue


def _is_light(colour: tuple[int, int, int]) -> bool:
    """Whether black reads better than white on it (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
