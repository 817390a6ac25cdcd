"""Color distortion of SSD: brightness, contrast, saturation and hue."""

import os
import random
from typing import Any

import numpy as np


class ColorDistortion:
    """SSD's photometric distortion, composed of albumentations' transforms.

    `RandomBrightnessContrast` gives SSD's additive brightness and multiplicative contrast, `ColorJitter` its
    saturation (interpolation with gray) and hue (rotation).
    """

    def __init__(self) -> None:
        # albumentations queries PyPI for newer versions on import; no network access without a request.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A

        def contrast() -> Any:
            return A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.5, p=0.5)

        def saturation_and_hue() -> list[Any]:
            fixed = {"brightness": (1, 1), "contrast": (1, 1)}
            return [
                A.ColorJitter(**fixed, saturation=(0.5, 1.5), hue=(0, 0), p=0.5),
                A.ColorJitter(**fixed, saturation=(1, 1), hue=(-18 / 360, 18 / 360), p=0.5),
            ]

        self._transform = A.Compose(
            [
                A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0, p=0.5),
                A.OneOf(
                    [
                        A.Sequential([contrast(), *saturation_and_hue()], p=0.5),
                        A.Sequential([*saturation_and_hue(), contrast()], p=0.5),
                    ],
                    p=1,
                ),
            ]
        )

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> distorted copy; `image` is unchanged."""
        # Seeded on every call: albumentations' own seeding adds the worker's number, so a resumed run would differ.
        self._transform.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        distorted: np.ndarray = self._transform(image=image)["image"]
        return distorted
