"""Sink interface, and the sinks that write files: JSON Lines, annotated image copies, annotated videos."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.images.image_io import write_image
from detection.inference.result_formats import to_json_line
from detection.inference.stage_timer import StageTimer
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource
from detection.video.source_names import STDIN
from detection.video.video_writer import VideoWriter, video_writer

LOSS_INTERVAL = Fraction(1)  # seconds of a lost signal from one frame of it in the annotated video to the next


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Facts about a source, known before its first result.

    Attributes:
        source: the input.
        size: (width, height) in pixels; None for images on stdin, each of which has its own.
        rate: frames per second; None for images.
        time_base: unit of the frames' times in seconds; None for one frame's time.
    """

    source: InputSource
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    time_base: Fraction | None = None


class Sink:
    """Destination of frame results. A sink inherits from it and overrides the methods that it needs.

    All methods are called in one thread, for the sinks of a run in their order. Several live sources may be open at
    once.

    Attributes:
        needs_images: whether `FrameResult.image` must be there, annotated. Without such a sink images are dropped as
            soon as the network has them, and frames that are not analyzed are not emitted.
    """

    needs_images: bool = False

    def open(self, info: SourceInfo) -> None:
        """Prepare for the results of a source."""

    def emit(self, result: FrameResult) -> None:
        """Take one result, in the order of the source; an exception ends the run."""

    def signal_lost(self, source: InputSource, image: np.ndarray, time: Fraction) -> None:
        """Take the last frame of a live source without a signal, with the loss drawn on it.

        Args:
            source: an open live source.
            image: (H, W, 3) uint8 RGB.
            time: seconds from the start of the source.
        """

    def idle(self) -> None:
        """Do periodic work (poll keys): called every 50 ms while live sources have no new frame, and after each."""

    def close(self, source: InputSource, error: BaseException | None) -> None:
        """Finish a source; `error` is the exception that ended it, None at its end. The caller raises it again."""


class JsonLines(Sink):
    """Sink of JSON Lines: one line per analyzed frame."""

    def __init__(self, write_line: Callable[[str], None], class_names: Sequence[str]) -> None:
        """Take the function that writes a line, and the model's class names by label."""
        self._write_line = write_line
        self._class_names = class_names

    def emit(self, result: FrameResult) -> None:
        """Write the line of a result."""
        if not result.analyzed:
            return
        assert result.prediction is not None
        self._write_line(
            to_json_line(
                result.item.name,
                result.index,
                result.width,
                result.height,
                result.prediction,
                self._class_names,
                time=result.time if result.item.video else None,
                track_ids=None if result.tracked is None else result.tracked.ids,
                counts=None if result.tracked is None else result.tracked.counts,
            )
        )
        result.delivered = time.monotonic()


class ImageCopies(Sink):
    """Sink of annotated copies of images, those on stdin included."""

    needs_images = True

    def __init__(self, output: Path, timer: StageTimer) -> None:
        """Take the output folder, and the timer of the stage "encode"."""
        self._output = output
        self._timer = timer

    def emit(self, result: FrameResult) -> None:
        """Write an image's copy."""
        if result.item.moving or result.image is None:
            return
        name = f"stdin-{result.index:06}.jpg" if result.item.source == STDIN else result.item.target
        with self._timer.stage("encode"):
            write_image(self._output / name, result.image)


class VideoCopies(Sink):
    """Sink of annotated videos, and of snapshots from them."""

    needs_images = True

    def __init__(self, output: Path, timer: StageTimer, snapshot_every: float | None = None) -> None:
        """Take the output folder, the timer of the stage "encode", and the seconds between two snapshots, if any."""
        self._output = output
        self._timer = timer
        self._snapshot_every = snapshot_every
        self._contexts: dict[InputSource, AbstractContextManager[VideoWriter]] = {}
        self._writers: dict[InputSource, VideoWriter] = {}
        self._last_snapshot: dict[InputSource, int] = {}  # number of the interval
        self._last_loss: dict[InputSource, Fraction] = {}  # time of the last frame of a lost signal

    def open(self, info: SourceInfo) -> None:
        """Begin a video."""
        source = info.source
        if not source.moving:
            return
        assert info.size is not None and info.rate is not None
        context = video_writer(self._output / source.target, info.size, info.rate, info.time_base)
        self._writers[source] = context.__enter__()
        self._contexts[source] = context

    def emit(self, result: FrameResult) -> None:
        """Append a frame; write a snapshot where one is due."""
        writer = self._writers.get(result.item)
        if writer is None or result.image is None:
            return
        with self._timer.stage("encode"):
            writer.write(result.image, result.time)
        self._snapshot(result)

    def signal_lost(self, source: InputSource, image: np.ndarray, time: Fraction) -> None:
        """Append the frame, once a second."""
        writer = self._writers.get(source)
        if writer is not None and time - self._last_loss.get(source, -LOSS_INTERVAL) >= LOSS_INTERVAL:
            self._last_loss[source] = time
            writer.write(image, time)

    def close(self, source: InputSource, error: BaseException | None) -> None:
        """Finish the video, or drop it; see `video_writer`."""
        context = self._contexts.pop(source, None)
        if context is not None:
            del self._writers[source]
            context.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _snapshot(self, result: FrameResult) -> None:
        """Write an image of the first frame in each interval of `snapshot_every`."""
        if self._snapshot_every is None or result.image is None or result.time is None:
            return
        number = int(float(result.time) / self._snapshot_every + 1e-6)
        if number > self._last_snapshot.get(result.item, -1):
            path = self._output / result.item.target
            write_image(path.with_name(f"{path.stem}-{result.index:06}.jpg"), result.image)
        self._last_snapshot[result.item] = number
