"""What the tests of `pelee-detect` share: a model that finds rectangles, and a folder of photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import WeightsError
from detection.detector import Detector
from tests.support.rectangle_session import WHITE, make_detector, picture


def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pelee-voc` is the detector of rectangles."""

    def load(name: str, **options: str) -> Detector:
        if name != "pelee-voc":
            raise WeightsError(f"{name!r} is neither a shipped model (pelee-voc) nor a path that exists")
        return make_detector()

    monkeypatch.setattr("detection.detector.Detector.load", load)


def make_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{a.jpg, sub/a.png, sub/none.png}, and the working directory above it."""
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    Image.fromarray(picture()).save("photos/a.jpg", quality=95)
    both = picture(200, 100, (20, 20, 80, 80))
    both[30:70, 120:180] = WHITE
    Image.fromarray(both).save("photos/sub/a.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save("photos/sub/none.png")
    return Path("photos")


def tree(folder: Path | str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]
