"""Sink interface, and the sinks of JSON Lines and of annotations for other tools."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.datasets.records import Record
from data.errors import ImageError
from data.label_formats.label_writer import LabelWriter
from detection.inference.result_formats import to_json_line
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource
from detection.video.sound_track import Sound

RUN_ENDING = frozenset({errno.ENOSPC, errno.EDQUOT})  # a full disk fails every further output, too
LABEL_SPLIT = "train"  # the split of all images in the annotations for other tools


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Facts about a source, known before its first result.

    Attributes:
        source: the input.
        size: (width, height) in pixels; None for images on stdin, each of which has its own.
        rate: frames per second; None for images.
        time_base: unit of the frames' times in seconds; None for one frame's time.
        sound: sound of a video file; None for none.
    """

    source: InputSource
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    time_base: Fraction | None = None
    sound: Sound | None = None


class SinkError(Exception):
    """One output of one source failed: it is reported and counted, and the run goes on. The message names the file."""


class Sink:
    """Destination of frame results. A sink inherits from it and overrides the methods that it needs.

    All methods are called in one thread, for the sinks of a run in their order. Several live sources may be open at
    once. A method that raises `SinkError` fails for this result or source only; any other exception ends the run.

    Attributes:
        needs_images: whether `FrameResult.image` must be there, annotated. Without such a sink images are dropped as
            soon as the network has them, and frames that are not analyzed are not emitted.
    """

    needs_images: bool = False

    def open(self, info: SourceInfo) -> None:
        """Prepare for the results of a source."""

    def emit(self, result: FrameResult) -> None:
        """Take one result, in the order of the source."""

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
        """Finish a source; `error` is the exception that ended it, None at its end. The caller raises it again.

        It is also called where `open` or `emit` has failed.
        """


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


class LabelSink(Sink):
    """Sink of annotations for other tools: boxes and labels of images, of which the writer makes copies."""

    def __init__(self, writer: LabelWriter) -> None:
        """Take the writer of a format; the caller closes it."""
        self._writer = writer

    def emit(self, result: FrameResult) -> None:
        """Write an image's annotations."""
        if result.item.video or not result.analyzed:
            return
        assert result.prediction is not None
        boxes, scores, labels = result.prediction
        path = Path(result.item.source)
        extent = boxes[:, 2:] - boxes[:, :2]
        unflagged = np.zeros(len(labels), dtype=bool)
        areas = extent[:, 0] * extent[:, 1]
        size = (result.width, result.height)
        record = Record(path, path.name, boxes, labels, unflagged, unflagged, areas, size)
        with one_output(self._writer.folder / path.name):
            self._writer.add(LABEL_SPLIT, record, scores)
        result.delivered = time.monotonic()


@contextmanager
def one_output(path: Path) -> Iterator[None]:
    """Turn errors of writing one file into `SinkError`; a full disk stays an `OSError`, which ends the run."""
    try:
        yield
    except ImageError as error:
        raise SinkError(str(error)) from error
    except OSError as error:
        if error.errno in RUN_ENDING:
            raise
        raise SinkError(f"{path}: not written: {error.strerror or error}") from error
