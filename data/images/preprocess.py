"""Preprocessing of images for a network's input, the same in training, inference, export and service."""

import cv2
import numpy as np

#: The network's own normalization, (x - MEAN) × SCALE on RGB in 0 to 255, which is part of its graph.
MEAN = (123.68, 116.78, 103.94)
SCALE = 0.017
#: Weights of R, G and B in a gray image (ITU-R BT.601), as in Pillow, OpenCV and torchvision.
LUMA = (0.299, 0.587, 0.114)

#: Ways to resize an image, as in a card's `preprocessing.resize`: to rounded values, or to floating-point ones, as
#: torchvision's detectors do.
WARP, FLOAT_WARP = "warp", "warp-float32"
RESIZES = (WARP, FLOAT_WARP)


def preprocess(image: np.ndarray, size: int, resize: str = WARP) -> np.ndarray:
    """Warp an image to a square; evaluation, detection, export, calibration and service all call this.

    The aspect ratio is not kept (SSD, section 2), so a relative box is mapped to the image by multiplication with its
    width and height. Normalization is part of the network's graph.

    Args:
        image: (H, W, 3) uint8 RGB; with `FLOAT_WARP` float32, too.
        size: side of the network's input in pixels.
        resize: one of `RESIZES`; the model's card names it.

    Returns:
        (size, size, 3) RGB in 0 to 255, bilinear: uint8, or with `FLOAT_WARP` float32.
    """
    if resize == FLOAT_WARP:
        image = image.astype(np.float32)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
