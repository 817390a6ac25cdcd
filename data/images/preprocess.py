"""The one preprocessing: what stands between an image and a network's input, everywhere."""

import cv2
import numpy as np

#: The network's own normalisation, (x - MEAN) × SCALE on RGB in 0 to 255, which is part of its graph.
MEAN = (123.68, 116.78, 103.94)
SCALE = 0.017
#: Shares of R, G and B in a grey image (ITU-R BT.601), as Pillow, OpenCV and torchvision have them.
LUMA = (0.299, 0.587, 0.114)


def preprocess(image: np.ndarray, size: int) -> np.ndarray:
    """Warp an image to a square; evaluation, detection, export, calibration and service all call this.

    The aspect ratio is not kept (SSD, section 2), so a box goes back to the image by multiplication with its
    width and height. Normalisation is part of the network's graph.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: side of the network's input in pixels.

    Returns:
        (size, size, 3) uint8 RGB, bilinear.
    """
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
