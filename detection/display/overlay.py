"""Overlays of live frames: status line, signal loss; and several frames side by side."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from detection.drawing import FONT, text_style

SHADE = 0.45  # share of the brightness that is left under text
RED = (200, 30, 30)
CELL = 640  # pixels: width of one of several frames side by side


def draw_status(image: np.ndarray, text: str) -> np.ndarray:
    """Draw a line of text on a shade at the top left of an (H, W, 3) uint8 RGB image, in place; return the image."""
    height, width = image.shape[:2]
    scale, thickness, padding = text_style(width, height, [text])
    text_width, text_height = cv2.getTextSize(text, FONT, scale, thickness)[0]
    shade = image[: text_height + 2 * padding, : text_width + 2 * padding]
    shade[:] = (shade * SHADE).astype(np.uint8)
    cv2.putText(image, text, (padding, padding + text_height), FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return image


def draw_signal_loss(image: np.ndarray, text: str) -> np.ndarray:
    """Return a darker copy of an (H, W, 3) uint8 RGB image with text on a red band across its middle."""
    image = (image * SHADE).astype(np.uint8)
    height, width = image.shape[:2]
    scale, thickness, padding = text_style(width, height, [text])
    text_width, text_height = cv2.getTextSize(text, FONT, scale, thickness)[0]
    top, bottom = (height - text_height) // 2 - 2 * padding, (height + text_height) // 2 + 2 * padding
    cv2.rectangle(image, (0, top), (width, bottom), RED, cv2.FILLED)
    place = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(image, text, place, FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return image


def side_by_side(images: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return images in a grid, (H, W, 3) uint8 RGB; a single one unchanged; a cell without an image is gray."""
    first = next((image for image in images if image is not None), None)
    if len(images) == 1 and first is not None:
        return first
    shape = (480, 640) if first is None else first.shape[:2]
    width, height = CELL, max(1, round(CELL * shape[0] / shape[1]))
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    grid = np.full((rows * height, columns * width, 3), 96, np.uint8)
    for index, image in enumerate(images):
        if image is None:
            continue
        scale = min(width / image.shape[1], height / image.shape[0])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        top, left = index // columns * height, index % columns * width
        grid[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return grid
