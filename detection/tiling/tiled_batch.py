"""Tiled batch: images and their tiles through the network, at most `BATCH` of them in a batch."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice

import numpy as np

from detection.inference.options import DetectionOptions
from detection.inference.prediction import Prediction
from detection.inference.stage_timer import StageTimer
from detection.tiling.merging import merge_views, view_prediction
from pelee.runtime.exit_gate import exit_gate

BATCH = 16
#: Batches whose raw outputs are held; a large image has hundreds of tiles of 0.5 MB of outputs each.
IN_FLIGHT = 2

Outputs = tuple[np.ndarray, np.ndarray]


class TiledBatch:
    """Images with tiles on their way through the network.

    The constructor submits all views, which are the whole images and then their tiles. It waits for the oldest
    batch when more than `IN_FLIGHT` are submitted, so that memory does not grow with the number of tiles.

    Attributes:
        views: number of whole images and tiles.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        tiles: Sequence[np.ndarray],
        options: DetectionOptions,
        submit: Callable[[Sequence[np.ndarray]], "Future[Outputs]"],
        timer: StageTimer,
    ) -> None:
        """Submit everything.

        Args:
            images: (H, W, 3) uint8 RGB, at least one; not needed any more on return.
            tiles: for each image its tiles, (T, 4) int64 xyxy in pixels.
            options: thresholds and classes of the result.
            submit: starts a batch of images of any sizes.
            timer: takes the time of post-processing per view.
        """
        self._options = options
        self._timer = timer
        self._sizes = [(image.shape[1], image.shape[0]) for image in images]
        self._parts: list[list[Prediction]] = [[] for _ in images]
        self._pending: deque[tuple[list[_View], Future[Outputs]]] = deque()
        self.views = len(images) + sum(len(rows) for rows in tiles)
        self._start = self._end = time.perf_counter()
        views = _views(images, tiles)
        while batch := list(islice(views, BATCH)):
            future = submit([pixels for _, pixels in batch])
            future.add_done_callback(self._note_end)
            self._pending.append(([view for view, _ in batch], future))
            if len(self._pending) > IN_FLIGHT:
                self._reduce()

    def result(self) -> list[Prediction]:
        """Wait for the network; one merged prediction per image, boxes in its pixels, best first."""
        with exit_gate:
            while self._pending:
                self._reduce()
            return [merge_views(parts, self._options) for parts in self._parts]

    @property
    def seconds(self) -> float:
        """Time from the start of the submission to the end of the last batch that is done."""
        return self._end - self._start

    def _note_end(self, _: "Future[Outputs]") -> None:
        self._end = time.perf_counter()

    def _reduce(self) -> None:
        """Wait for the oldest batch, and keep of its outputs the detections that count."""
        views, future = self._pending.popleft()
        outputs = future.result()
        with self._timer.stage("postprocess", len(views)):
            for scores, boxes, (image, tile) in zip(*outputs, views, strict=True):
                found = view_prediction(scores, boxes, tile, *self._sizes[image], self._options)
                self._parts[image].append(found)


#: Index of an image, and a tile's xyxy, None for the whole image.
_View = tuple[int, tuple[int, int, int, int] | None]


def _views(images: Sequence[np.ndarray], tiles: Sequence[np.ndarray]) -> Iterator[tuple[_View, np.ndarray]]:
    """Views with their pixels, which share the images' memory: all whole images first."""
    for index, image in enumerate(images):
        yield (index, None), image
    for index, (image, rows) in enumerate(zip(images, tiles, strict=True)):
        for x1, y1, x2, y2 in rows.tolist():
            yield (index, (x1, y1, x2, y2)), image[y1:y2, x1:x2]
