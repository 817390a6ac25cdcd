import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detection.batch.batch_job import BatchJob
from detection.batch.output_folder import OutputFolder
from detection.inference.options import DetectionOptions
from tests.support.paths import SAMPLES
from weights.store import resolve


@pytest.fixture(autouse=True)
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a `PartDetector` in the process of the tests on all cores; a worker in a process of its own claims some."""
    monkeypatch.setattr("detection.batch.part_detector.claim_cores", lambda count: set())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder of two images, one that is cut off, and one that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(SAMPLES / "chelsea.jpg", folder / "cat.jpg")
    shutil.copy(SAMPLES / "astronaut.jpg", folder / "sub" / "astronaut.jpg")
    (folder / "cut.jpg").write_bytes((SAMPLES / "chelsea.jpg").read_bytes()[:30_000])
    (folder / "text.jpg").write_text("no image")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> OutputFolder:
    folder = OutputFolder(str(tmp_path / "out"))
    folder.create()
    return folder


@pytest.fixture(scope="session")
def new_job() -> Callable[..., BatchJob]:
    """Function that returns a job with these settings."""

    def make(output: Path | str, **settings: object) -> BatchJob:
        card = resolve("pelee-voc").card
        values = {"options": DetectionOptions(confidence=card.default_thresholds), "cores": 1, **settings}
        return BatchJob(output=str(output), weights=card.name, model=card.name, sha256=card.sha256, **values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Folder on a file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
