"""Snapshot: the best frame of an event, with and without the object's box."""

import numpy as np

from data.errors import ImageError
from data.images.image_io import write_image
from detection.drawing import draw
from detection.watch.event import Event, EventFiles

Box = tuple[float, float, float, float]


def write_snapshots(files: EventFiles, event: Event, image: np.ndarray, box: Box) -> None:
    """Write both images of an event; each is whole at any time.

    Args:
        files: their paths; the folder is made.
        event: its label and score are written at the box.
        image: (H, W, 3) uint8 RGB; it is not changed.
        box: xyxy in pixels.

    Raises:
        ImageError: the disk is full, or the folder cannot be written.
    """
    try:
        files.snapshot.parent.mkdir(parents=True, exist_ok=True)
        write_image(files.snapshot, image)
        scene = draw(np.array(image, order="C"), np.array([box]), np.array([event.score]), np.array([0]), [event.label])
        write_image(files.boxed_snapshot, scene)
    except OSError as error:
        raise ImageError(f"{files.snapshot.name}: the snapshot is not written ({error.strerror or error})") from None
