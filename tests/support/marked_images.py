"""Synthetic images whose objects are found by their color after any augmentation."""

import numpy as np
from hypothesis import strategies as st

COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)


SEEDS = st.integers(0, 2**32 - 1)


def marked(rng: np.random.Generator, objects: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A black image with up to three solid objects that do not touch; an object's label is its color."""
    height, width = (int(value) for value in rng.integers(60, 200, 2))
    image = np.zeros((height, width, 3), dtype=np.uint8)
    boxes = []
    for i in range(objects):  # one in each third of the width
        low, high = width * i // objects, width * (i + 1) // objects
        x0, x1 = np.sort(rng.choice(np.arange(low, high), 2, replace=False))
        y0, y1 = np.sort(rng.choice(height, 2, replace=False))
        image[y0:y1, x0:x1] = COLORS[i]
        boxes.append([x0, y0, x1, y1])
    return image, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.arange(objects)


def check_marked(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> int:
    """Inside each box, but for a pixel at its edges, is nothing but its own color. -> how many were large enough."""
    looked = 0
    size = image.shape[0]
    for box, label in zip(boxes * size, labels, strict=True):
        x0, y0 = np.ceil(box[:2]).astype(int) + 1
        x1, y1 = np.floor(box[2:]).astype(int) - 1
        if x1 > x0 and y1 > y0:
            inside = image[y0:y1, x0:x1].reshape(-1, 3).astype(int)
            # Turned by 18 degrees and half grey, a pure color still stands out by more than this; black never does.
            assert (inside.argmax(axis=1) == label).all(), box
            assert (inside[:, label] - np.delete(inside, label, axis=1).max(axis=1)).mean() > 25, box
            looked += 1
    return looked
