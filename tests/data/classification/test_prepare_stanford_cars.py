"""Preparing Stanford Cars: archives, crops, a killed process."""

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from data.classification import prepare_stanford_cars as prepare
from data.classification.object_crop import ObjectCrop
from data.errors import SettingsError
from data.images.image_io import read_image
from tests.support.stanford_cars_files import NAMES, list_files, official


def test_archives_are_unpacked_and_images_cut(tmp_path: Path) -> None:
    root = official(tmp_path / "cars")
    for archive, folder in (("car_devkit.tgz", "devkit"), ("cars_train.tgz", "cars_train")):
        with tarfile.open(root / archive, "w:gz") as tar:
            tar.add(root / folder, folder)
        for path in (root / folder).iterdir():
            path.unlink()
        (root / folder).rmdir()
    counts, errors = prepare.prepare_cars(root, tmp_path / "out", ObjectCrop(crop_to_box=True), progress=False)
    assert counts == {"train": 4, "test": 4} and errors == []
    assert read_image(tmp_path / "out" / "train" / NAMES[2] / "00003.jpg").shape == (12, 16, 3)
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_kill_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """A real process, killed in the midst of it; what it wrote is whole, and the next call goes on from there."""
    root, output = official(tmp_path / "cars", count=60), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "data.commands.data",
        "prepare",
        "cars",
        "--root",
        str(root),
        "--output",
        str(output),
    ]
    part = tmp_path / "out.part"
    process = subprocess.Popen(
        [*command, "--crop-to-box"], stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while process.poll() is None and (not part.is_dir() or len(list_files(part)) < 6):
        time.sleep(0.002)
    process.kill()
    process.wait()
    if output.exists():
        pytest.skip("it was quicker than the kill")
    done = [path for path in part.rglob("*.jpg") if not path.name.startswith(".")]
    assert done and all(read_image(path).size for path in done)
    before = {path.relative_to(part): path.stat().st_mtime_ns for path in done}
    with pytest.raises(SettingsError, match="begun with other options"):
        prepare.prepare_cars(root, output, ObjectCrop(), progress=False)
    counts, errors = prepare.prepare_cars(root, output, ObjectCrop(crop_to_box=True), progress=False)
    assert counts == {"train": 60, "test": 60} and not errors and not part.exists()
    assert len(list_files(output)) == 120  # and nothing half-written
    assert all((output / path).stat().st_mtime_ns == mtime for path, mtime in before.items())
    with pytest.raises(SettingsError, match="exists; name a folder that does not"):
        prepare.prepare_cars(root, output, ObjectCrop(), progress=False)
