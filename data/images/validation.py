"""Validation of images in memory before inference."""

import numpy as np

from data.errors import ImageError


def check_image(image: object) -> None:
    """Raise `ImageError` unless it is an (H, W, 3) uint8 array with pixels; the message says what to do."""
    expected = "expected (height, width, 3) uint8 RGB"
    if not isinstance(image, np.ndarray):
        raise ImageError(f"a {type(image).__name__} is no image, {expected}; a PIL image goes as np.array(image)")
    found = f"an array of shape {image.shape} {image.dtype} is no image, {expected}"
    if image.ndim == 4:
        raise ImageError(f"{found}; pass several images as a list")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(f"{found}; repeat a grey image's channel with cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim != 3 or image.shape[2] != 3:
        channels = "; drop the alpha channel with image[..., :3]" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise ImageError(f"{found}{channels}")
    if image.dtype != np.uint8:
        raise ImageError(f"{found}; scale to 0..255 and convert with .astype(np.uint8)")
    if image.size == 0:
        raise ImageError(f"{found} with at least one pixel")
