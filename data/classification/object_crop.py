"""What of an image is looked at, where its object has a box."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from data.augmentation.geometry import MEAN_COLOR
from data.errors import ImageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectCrop:
    """How an image is read where it comes with a box; the default is the whole image.

    Attributes:
        crop_to_box: keep the box alone.
        box_margin: so much more on each side of the box, as a share of its width and height; for the crop only.
        erase_background: paint what is outside of the box in the mean colour, which the usual normalisation makes 0.
    """

    crop_to_box: bool = False
    box_margin: float = 0.0
    erase_background: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The view that a training's settings name, as its card holds them; others than the view's are passed over."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})

    @property
    def needs_box(self) -> bool:
        """Whether it differs from the whole image."""
        return self.crop_to_box or self.erase_background

    def __str__(self) -> str:
        """What is looked at, in words; nothing for whole images."""
        words = [f"cropped to the box (margin {self.box_margin:g})"] if self.crop_to_box else []
        return " and ".join([*words, *(["background erased"] if self.erase_background else [])])

    def __call__(self, image: np.ndarray, box: np.ndarray, name: str) -> np.ndarray:
        """The view of an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: (4,) xyxy in continuous pixels of the image; what sticks out of it is cut off.
            name: of the image, for the error.

        Returns:
            (h, w, 3) uint8 RGB; the image itself, or an array of its own.

        Raises:
            ImageError: a box that covers no pixel of the image.
        """
        if not self.needs_box:
            return image
        height, width = image.shape[:2]
        left, top, right, bottom = _clipped(box, width, height)
        if left >= right or top >= bottom:
            shown = ", ".join(f"{side:g}" for side in box)
            raise ImageError(f"{name}: the box {shown} has no pixel of the image of {width}×{height}; mend or drop it")
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
    """The pixels that a box touches, as left, top, right, bottom with the last two exclusive."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)
