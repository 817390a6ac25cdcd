"""Prediction of one image: boxes, scores, labels."""

from typing import NamedTuple

import numpy as np


class Prediction(NamedTuple):
    """Detections of one image, best first.

    boxes: (k, 4) float32, xyxy in pixels of the original image; scores: (k,) float32; labels: (k,) int64, 0-based.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
