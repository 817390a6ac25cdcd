"""Drawing of detections: boxes, names and scores, sized to the picture, coloured by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from supervision import Detections

# Twenty colours far apart from each other, so that VOC's classes all differ; further classes begin again.
COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#800000", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4",
    "#469990", "#dcbeff", "#9a6324", "#fffac8", "#f58231", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9",
)  # fmt: skip
MIN_SCALE, MAX_SCALE = 0.4, 2.0  # of OpenCV's font: below the first it cannot be read


def annotate(image: np.ndarray, detections: "Detections") -> np.ndarray:
    """Return a copy of an (H, W, 3) uint8 RGB picture with its detections drawn, the best on top.

    A label stands above its box, and is moved as far as it takes to be inside the picture.
    """
    import supervision as sv

    scene = np.array(image, order="C")
    if len(detections) == 0:
        return scene
    assert detections.confidence is not None
    ordered = detections[np.argsort(detections.confidence, kind="stable")]
    assert isinstance(ordered, sv.Detections)
    detections = ordered
    height, width = scene.shape[:2]
    labels = label_texts(detections)
    scale, thickness, padding = text_style(width, height, labels)

    # supervision takes colours as BGR and our pictures are RGB: each colour goes in with red and blue exchanged.
    colours = [sv.Color.from_hex(colour) for colour in COLOURS]
    palette = sv.ColorPalette([sv.Color(colour.b, colour.g, colour.r) for colour in colours])
    ink = sv.ColorPalette([sv.Color.BLACK if _is_light(colour) else sv.Color.WHITE for colour in COLOURS])

    line = -(-min(width, height) // 240)  # 2 pixels at 480, rounded up
    scene = sv.BoxAnnotator(color=palette, thickness=line).annotate(scene, _inside(detections, width, height))
    writer = sv.LabelAnnotator(
        color=palette, text_color=ink, text_scale=scale, text_thickness=thickness, text_padding=padding
    )
    return writer.annotate(scene, _label_places(detections, labels, width, height, scale, thickness, padding), labels)


def label_texts(detections: "Detections") -> list[str]:
    """Return "name score" for each detection, the class id where there is no name."""
    assert detections.confidence is not None and detections.class_id is not None
    names = detections.data.get("class_name", detections.class_id)
    return [f"{name} {score:.2f}" for name, score in zip(names, detections.confidence, strict=True)]


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
    """(width, height) in pixels, as supervision's label annotator measures it."""
    import cv2

    width, height = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0]
    return width, height


def _inside(detections: "Detections", width: int, height: int) -> "Detections":
    """Move edges onto the picture's last pixels, so that a box that fills the picture shows all four lines."""
    import dataclasses

    limits = np.array([width - 1, height - 1, width - 1, height - 1], dtype=np.float32)
    return dataclasses.replace(detections, xyxy=np.clip(detections.xyxy, 0, limits))


def _label_places(
    detections: "Detections", labels: Sequence[str], width: int, height: int, scale: float, thickness: int, padding: int
) -> "Detections":
    """Return detections whose top left corners, which labels stand on, leave room for them inside the picture."""
    import dataclasses

    sizes = np.array([_text_size(label, scale, thickness) for label in labels], dtype=np.float32) + 2 * padding
    xyxy = detections.xyxy.copy()
    xyxy[:, 0] = np.clip(xyxy[:, 0], 0, np.maximum(width - 1 - sizes[:, 0], 0))
    xyxy[:, 1] = np.clip(xyxy[:, 1], np.minimum(sizes[:, 1], height - 1), height - 1)
    return dataclasses.replace(detections, xyxy=xyxy)


def _is_light(colour: str) -> bool:
    """Whether black reads better than white on it (luma of ITU-R BT.601)."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
