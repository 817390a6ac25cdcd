"""Mean and standard deviation of a dataset's color channels, exact, in one pass."""

from typing import Any

import numpy as np

from data.errors import DatasetError
from data.images.preprocess import LUMA


class ChannelStatistics:
    """Accumulates the sums over images from which mean and standard deviation are computed.

    Pixels are integers, so the sums are exact below 2^53: more than 10^11 pixels, a million images of 300×300.

    Attributes:
        images: number of images added.
    """

    def __init__(self) -> None:
        self.images = 0
        self._pixels = 0
        self._sum = np.zeros(3)
        self._products = np.zeros((3, 3))  # of each two channels; the variance of gray needs all of them

    def add(self, images: np.ndarray) -> None:
        """Add images, (N, H, W, 3) uint8 RGB."""
        for image in images:  # one at a time: as float64 they need eight times the memory
            pixels = image.reshape(-1, 3).astype(np.float64)
            self._sum += pixels.sum(0)
            self._products += pixels.T @ pixels
            self._pixels += len(pixels)
        self.images += len(images)

    def normalization(self, grey: bool = False) -> dict[str, Any]:
        """Return `mean` and `std` of the channels R, G, B in 0 to 255, for `pelee.models.layers.Normalize`.

        Args:
            grey: of the gray image, which then is every channel; the result has the key `grey: True`.

        Raises:
            DatasetError: no image, or images of one color only.
        """
        if not self._pixels:
            raise DatasetError("no image to compute a mean of")
        mean = self._sum / self._pixels
        covariance = self._products / self._pixels - np.outer(mean, mean)
        variance = np.diag(covariance)
        if grey:
            weights = np.array(LUMA)
            mean, variance = np.full(3, weights @ mean), np.full(3, weights @ covariance @ weights)
        std = np.sqrt(variance.clip(0)).round(3)
        if not std.all():
            raise DatasetError("the images are all of one color: there is no standard deviation to divide by")
        found: dict[str, Any] = {"mean": mean.round(3).tolist(), "std": std.tolist()}
        return found | ({"grey": True} if grey else {})
