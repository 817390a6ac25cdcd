"""Benchmark run: errors before anything is timed."""

from pathlib import Path

import pytest

from data.errors import PeleeError, SettingsError
from data.images.image_io import write_image
from detection.benchmark.measure import BenchmarkSettings, measure
from tests.support.rectangle_session import picture


def settings(images: Path, **changes: object) -> BenchmarkSettings:
    """No model and no runtime."""
    own: dict[str, object] = {"weights": ["x"], "runtimes": [], "precisions": [], "batches": [1], "against": []}
    return BenchmarkSettings(images=[str(images)], device="cpu", repeats=1, **(own | changes))  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_unknown_baseline(tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", picture())
    with pytest.raises(SettingsError, match="--against everyone is unknown, expected one of eager, torchvision"):
        measure(settings(tmp_path, against=["everyone"]))


@pytest.mark.slow
def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(PeleeError, match=str(tmp_path)):
        measure(settings(tmp_path))
