"""Mixup and copy-paste: two augmented training images combined into one."""

import cv2
import numpy as np

from data.augmentation.geometry import Sample
from data.boxes import box_areas, box_intersections

ALPHA = 1.5  # of mixup's Beta(alpha, alpha), most of whose mass is near 0.5 (Zhang et al. 2019)
MAX_COVERED = 0.3  # largest share of an object's box that a pasted box may cover
MAX_PASTED = 0.25  # largest share of the image that a pasted box may cover


def mix(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Mixup: the weighted mean of two images, with the objects of both.

    Zhang et al., "Bag of Freebies for Training Object Detection Neural Networks", 2019, section 3.1: the weight is
    drawn from Beta(1.5, 1.5), and every object has loss weight 1.
    """
    share = float(rng.beta(ALPHA, ALPHA))
    image = cv2.addWeighted(first[0], share, second[0], 1 - share, 0)
    return image, np.concatenate([first[1], second[1]]), np.concatenate([first[2], second[2]])


def paste(onto: Sample, source: Sample, rng: np.random.Generator) -> Sample:
    """Copy-paste: copy the boxes of one image's objects, each with probability 0.5, to random places of another.

    After Ghiasi et al., "Simple Copy-Paste", CVPR 2021. Whole boxes are copied, with some background, because there
    are no masks. A box is skipped where it would cover more than `MAX_COVERED` of another object's box, is larger than
    `MAX_PASTED` of the image, or overlaps others in its own image (their pixels would be copied without their boxes).

    Args:
        onto: the image to paste into; unchanged.
        source: the image to copy from.
        rng: source of randomness.
    """
    image, boxes, labels = onto[0].copy(), onto[1], onto[2]
    height, width = image.shape[:2]
    scale = np.array([width, height, width, height], np.float32)
    pixels = np.rint(source[1] * scale).astype(int)
    for index, (x0, y0, x1, y1) in enumerate(pixels.tolist()):
        across, down = x1 - x0, y1 - y0
        if rng.random() < 0.5 or min(across, down) < 1 or across * down > MAX_PASTED * width * height:
            continue
        if (_covered(pixels[index], np.delete(pixels, index, axis=0)) > 0).any():
            continue
        left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
        place = np.array([left, top, left + across, top + down])
        if (_covered(place, boxes * scale) > MAX_COVERED).any():
            continue
        image[top : top + down, left : left + across] = source[0][y0:y1, x0:x1]
        boxes = np.concatenate([boxes, (place / scale)[None].astype(np.float32)])
        labels = np.concatenate([labels, source[2][index : index + 1]])
    return image, boxes, labels


def _covered(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(4,), (n, 4) xyxy -> (n,) share of each box that the window covers."""
    shared: np.ndarray = box_intersections(window, boxes) / np.maximum(box_areas(boxes), 1e-9)
    return shared
