"""Near-duplicates: copies in other sizes and formats, frames of a video, and a set of one static camera."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.inspection.near_duplicates import near_duplicate_groups
from tests.support.dataset_records import make_image


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """A smooth scene of large blobs, (120, 160, 3), moved by `shift` pixels."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return cv2.resize(small, (200, 120), interpolation=cv2.INTER_CUBIC)[:, shift : shift + 160]


def save(path: Path, pixels: np.ndarray, **options: int) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.slow
def test_copies_and_frames_are_grouped(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{seed}.png", scene(seed)) for seed in range(30)]
    paths.append(save(tmp_path / "copy.jpg", cv2.resize(scene(3), (80, 60), interpolation=cv2.INTER_AREA), quality=60))
    paths.append(save(tmp_path / "frame.png", scene(5, shift=1)))
    calls: list[int] = []
    groups = near_duplicate_groups(paths, progress=calls.append)
    assert groups[30] == groups[3] and groups[31] == groups[5]
    assert len(set(groups)) == 30 and len(calls) == 32


@pytest.mark.slow
def test_images_that_are_all_alike_are_no_group(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", scene(0)) for index in range(20)]
    assert len(set(near_duplicate_groups(paths))) == 20


def test_an_unreadable_image_is_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    black = [save(tmp_path / f"{name}.png", np.zeros((9, 9, 3), np.uint8)) for name in "bc"]
    others = [make_image(tmp_path / f"n{seed}.png", seed=seed) for seed in range(3)]
    assert len(set(near_duplicate_groups([tmp_path / "a.png", *black, *others]))) >= 4
    assert near_duplicate_groups([tmp_path / "a.png"]) == [0]
