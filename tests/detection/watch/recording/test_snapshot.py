from pathlib import Path

import numpy as np
import pytest

from data.errors import ImageError
from data.images.image_io import read_image
from detection.watch.event import EventFiles
from detection.watch.recording.snapshot import write_snapshots
from tests.detection.watch.test_event import EVENT


def test_one_with_the_box_and_one_without(tmp_path: Path) -> None:
    files = EventFiles.of(tmp_path, EVENT)
    image = np.full((96, 128, 3), 90, np.uint8)
    write_snapshots(files, EVENT, image, (32.0, 40.0, 90.0, 80.0))
    plain, boxed = read_image(files.snapshot).astype(int), read_image(files.boxed_snapshot).astype(int)
    assert np.abs(plain - 90).max() < 12 and (image == 90).all()
    assert np.abs(boxed[60, 28:38] - 90).max() > 40 and np.abs(boxed[60, 50:70] - 90).max() < 12
    assert sorted(path.name for path in files.snapshot.parent.iterdir()) == [f"{EVENT.id}-boxes.jpg", f"{EVENT.id}.jpg"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "yard").write_text("a file")
    with pytest.raises(ImageError, match="snapshot is not written"):
        write_snapshots(EventFiles.of(tmp_path, EVENT), EVENT, np.zeros((9, 9, 3), np.uint8), (0, 0, 5, 5))
