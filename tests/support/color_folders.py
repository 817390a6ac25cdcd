"""Image folders of classes that a color distinguishes: noisy images, learned in seconds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.images.image_io import write_image

COLORS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (210, 30, 30)}
TWO_COLORS = {name: COLORS[name] for name in ("blue", "red")}


def make_folders(
    root: Path,
    count: int = 16,
    colors: Mapping[str, tuple[int, int, int]] = COLORS,
    size: tuple[int, int] = (32, 24),
) -> Path:
    """Write `count` images of `size` (width, height) for each class to root/train and root/val; returns the root."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, color in colors.items():
            for number in range(count):
                noise = rng.integers(-20, 20, (size[1], size[0], 3))
                write_image(
                    root / split / name / f"{number}.png", (np.array(color) + noise).clip(0, 255).astype(np.uint8)
                )
    return root
