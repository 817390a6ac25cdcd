"""Drawing of detections: boxes, class names and scores, scaled to the image, colored by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data.text.fonts import render_text

if TYPE_CHECKING:
    from supervision import Detections


# Twenty colors far apart from each other, one for each class of VOC; further classes start again.
COLORS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#800000", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4",
    "#469990", "#dcbeff", "#9a6324", "#fffac8", "#f58231", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9",
)  # fmt: skip
FONT = cv2.FONT_HERSHEY_SIMPLEX
MIN_SCALE, MAX_SCALE = 0.4, 2.0  # of OpenCV's font: smaller text is not legible
FONT_PIXELS = 29  # size of other fonts whose capitals are as high as those of OpenCV's at scale 1


def annotate(image: np.ndarray, detections: "Detections") -> np.ndarray:
    """Return a copy of an (H, W, 3) uint8 RGB image with its detections drawn, higher scores on top."""
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
    """Draw detections on an image in place; return the image.

    A label is above its box, or moved until it is inside the image. OpenCV draws: it is many times as fast as
    supervision's annotators, and needs no import of supervision; a test holds that both draw the same.

    Args:
        scene: (H, W, 3) uint8 RGB, C-contiguous.
        boxes: (k, 4) xyxy in pixels of the scene.
        scores: (k,).
        class_ids: (k,) ints, which choose the colors; -1 is gray.
        names: (k,) names for the labels.
    """
    if len(boxes) == 0:
        return scene
    height, width = scene.shape[:2]
    order = np.argsort(scores, kind="stable")
    labels = [label_text(names[index], scores[index]) for index in order]
    colors = [color_of(class_id) for class_id in class_ids[order].tolist()]
    boxes = boxes[order]

    line = line_width(scene)
    # Edges are clipped to the last pixels, so that a box that fills the image shows all four lines.
    limits = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    for (x1, y1, x2, y2), color in zip(np.clip(boxes, 0, limits).astype(int).tolist(), colors, strict=True):
        cv2.rectangle(scene, (x1, y1), (x2, y2), color, line)

    style = text_style(width, height, labels)
    for (x1, y1), label, color in zip(boxes[:, :2].tolist(), labels, colors, strict=True):
        draw_label(scene, label, (x1, y1), color, style)
    return scene


def draw_label(
    scene: np.ndarray,
    label: str,
    corner: tuple[float, float],
    color: tuple[int, int, int],
    style: tuple[float, int, int],
) -> None:
    """Draw text on a filled box with its lower left corner at `corner`, or moved until it is inside the image.

    style: as `text_style` returns it.
    """
    height, width = scene.shape[:2]
    scale, thickness, padding = style
    text_width, text_height = _text_size(label, scale, thickness)
    box_width, box_height = text_width + 2 * padding, text_height + 2 * padding
    left = int(min(max(corner[0], 0), max(width - 1 - box_width, 0)))
    bottom = int(min(max(corner[1], min(box_height, height - 1)), height - 1))
    top = bottom - box_height
    cv2.rectangle(scene, (left, top), (left + box_width, bottom), color, cv2.FILLED)
    text_color = (0, 0, 0) if _is_light(color) else (255, 255, 255)
    if label.isascii():
        place = (left + padding, top + padding + text_height)
        cv2.putText(scene, label, place, FONT, scale, text_color, thickness, cv2.LINE_AA)
    else:
        _blend(scene, render_text(label, _font_size(scale)), left + padding, top + padding, text_color)


def draw_path(scene: np.ndarray, points: np.ndarray, color: tuple[int, int, int], *, closed: bool = False) -> None:
    """Draw straight lines from point to point, (n, 2) in pixels, with a dark edge that is visible on any background."""
    corners = [np.asarray(points).round().astype(np.int32)]
    width = line_width(scene)
    cv2.polylines(scene, corners, closed, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.polylines(scene, corners, closed, color, width, cv2.LINE_AA)


def line_width(scene: np.ndarray) -> int:
    """Return the width of lines in pixels for an image of that size: 2 at 480, rounded up."""
    return -(-min(scene.shape[:2]) // 240)


def color_of(number: int) -> tuple[int, int, int]:
    """Return the color, RGB, of a class or track."""
    return _rgb(COLORS[number % len(COLORS)])


def label_text(name: object, score: float) -> str:
    """Return "name score"."""
    return f"{name} {score:.2f}"


def text_style(width: int, height: int, labels: Sequence[str]) -> tuple[float, int, int]:
    """Return OpenCV's font scale, stroke thickness and padding (pixels) for an image of that size.

    The scale grows with the image; it falls below `MIN_SCALE` only where the longest label would be wider than the
    image.
    """
    scale = min(max(min(width, height) / 900, MIN_SCALE), MAX_SCALE)
    padding = max(2, round(6 * scale))
    widest = max(_text_size(label, scale, 1)[0] for label in labels) + 2 * padding
    scale *= min(1.0, width / widest)
    return scale, max(1, round(1.5 * scale)), padding


def _text_size(label: str, scale: float, thickness: int) -> tuple[int, int]:
    """(width, height) in pixels. OpenCV's font has ASCII only; other labels are drawn with a font of the system."""
    if not label.isascii():
        height, width = render_text(label, _font_size(scale)).shape
        return width, height
    width, height = cv2.getTextSize(label, FONT, scale, thickness)[0]
    return width, height


def _font_size(scale: float) -> int:
    return max(8, round(FONT_PIXELS * scale))


def _blend(scene: np.ndarray, ink: np.ndarray, left: int, top: int, color: tuple[int, int, int]) -> None:
    """Draw rendered text, (h, w) uint8, with its upper left corner inside a scene; what lies outside is cut off."""
    region = scene[top : top + ink.shape[0], left : left + ink.shape[1]]
    share = ink[: region.shape[0], : region.shape[1], None].astype(np.float32) / 255
    region[:] = np.rint(region * (1 - share) + np.array(color, np.float32) * share).astype(np.uint8)


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue


def _is_light(color: tuple[int, int, int]) -> bool:
    """Whether black text has more contrast on it than white (luma of ITU-R BT.601)."""
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
