"""Crops an image to its annotated object, or erases the background, before classification."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from data.augmentation.geometry import MEAN_COLOR
from data.errors import ImageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectCrop:
    """Transformation of an image by the box of its object; the default is the identity.

    Attributes:
        crop_to_box: crop the image to the box.
        box_margin: margin of the crop on each side, as a share of the box's width and height.
        erase_background: fill the pixels outside of the box with the mean color, which the default normalization maps
            to 0.
    """

    crop_to_box: bool = False
    box_margin: float = 0.0
    erase_background: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the crop of a training's settings, as its card holds them; other settings are ignored."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})

    @property
    def needs_box(self) -> bool:
        """Whether the result depends on the box."""
        return self.crop_to_box or self.erase_background

    def __str__(self) -> str:
        """Describe the crop for a report; empty for whole images."""
        words = [f"cropped to the box (margin {self.box_margin:g})"] if self.crop_to_box else []
        return " and ".join([*words, *(["background erased"] if self.erase_background else [])])

    def __call__(self, image: np.ndarray, box: np.ndarray, name: str) -> np.ndarray:
        """Apply the crop.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: (4,) xyxy in continuous pixels of the image, to which it is clipped.
            name: name of the image, for the error.

        Returns:
            (h, w, 3) uint8 RGB; the image itself, or a new array.

        Raises:
            ImageError: a box that covers no pixel of the image.
        """
        if not self.needs_box:
            return image
        height, width = image.shape[:2]
        left, top, right, bottom = _clipped(box, width, height)
        if left >= right or top >= bottom:
            shown = ", ".join(f"{side:g}" for side in box)
            raise ImageError(f"{name}: the box {shown} has no pixel of the image of {width}×{height}; fix or drop it")
        if self.erase_background:
            kept = image[top:bottom, left:right]
            image = np.empty_like(image)
            image[:] = MEAN_COLOR
            image[top:bottom, left:right] = kept
        if self.crop_to_box:
            more = self.box_margin * np.array([right - left, bottom - top])
            wide = np.array([left - more[0], top - more[1], right + more[0], bottom + more[1]])
            left, top, right, bottom = _clipped(wide, width, height)
            image = np.ascontiguousarray(image[top:bottom, left:right])
        return image


WHOLE_IMAGE = ObjectCrop()


def _clipped(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the pixels that a box touches: left, top, right, bottom, the last two exclusive."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)
