"""Sinks that write annotated copies: images, videos with snapshots."""

import os
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.images.image_io import write_image
from detection.inference.stage_timer import StageTimer
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource, identities
from detection.pipeline.sinks import Sink, SinkError, SourceInfo, one_output
from detection.video.source_names import STDIN
from detection.video.video_writer import VideoWriter, video_writer

JPEG_SIDE = 65_500  # pixels: longest side of a JPEG that libjpeg writes
LISTED = 4  # paths of copies that are kept for the report
LOSS_INTERVAL = Fraction(1)  # seconds of a lost signal from one frame of it in the annotated video to the next


@dataclass(slots=True)
class WrittenCopies:
    """Annotated copies that were written, for the report.

    Attributes:
        first: paths of the first ones.
        count: number of all.
    """

    first: list[Path] = field(default_factory=list)
    count: int = 0

    def add(self, path: Path) -> None:
        """Count a copy."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(path)


class ImageCopies(Sink):
    """Sink of annotated copies of images, those on stdin included."""

    needs_images = True

    def __init__(
        self,
        output: Path,
        timer: StageTimer,
        written: WrittenCopies | None = None,
        protected: Collection[str] = (),
    ) -> None:
        """Make a sink.

        Args:
            output: folder of the copies.
            timer: timer of the stage "encode".
            written: counts the copies.
            protected: `identities` of inputs and of copies with names of their own; images on stdin avoid them.
        """
        self._output = output
        self._timer = timer
        self._written = WrittenCopies() if written is None else written
        self._protected = protected

    def emit(self, result: FrameResult) -> None:
        """Write an image's copy."""
        if result.item.moving or result.image is None:
            return
        path = self._output / result.item.target
        if result.item.source == STDIN and result.index > 0:
            path = unprotected(self._output / f"stdin-{result.index:06}.jpg", self._protected)
        with one_output(path), self._timer.stage("encode"):
            _refuse_link(path)
            if max(result.image.shape[:2]) > JPEG_SIDE:
                height, width = result.image.shape[:2]
                raise SinkError(
                    f"{path}: not written: a JPEG has up to {JPEG_SIDE} px a side, this has {width}x{height}"
                )
            write_image(path, result.image)
        self._written.add(path)


class VideoCopies(Sink):
    """Sink of annotated videos, and of snapshots from them."""

    needs_images = True

    def __init__(
        self,
        output: Path,
        timer: StageTimer,
        snapshot_every: float | None = None,
        written: WrittenCopies | None = None,
        protected: Collection[str] = (),
    ) -> None:
        """Make a sink.

        Args:
            output: folder of the videos.
            timer: timer of the stage "encode".
            snapshot_every: seconds between two snapshots; None for none.
            written: counts the videos.
            protected: `identities` of inputs and copies, which snapshots avoid.
        """
        self._output = output
        self._timer = timer
        self._snapshot_every = snapshot_every
        self._written = WrittenCopies() if written is None else written
        self._protected = protected
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
        path = self._output / source.target
        context = video_writer(path, info.size, info.rate, info.time_base, crash_safe=source.live, sound=info.sound)
        with one_output(path):
            _refuse_link(path)
            self._writers[source] = context.__enter__()
        self._contexts[source] = context

    def emit(self, result: FrameResult) -> None:
        """Append a frame; write a snapshot where one is due."""
        if result.item not in self._writers or result.image is None:
            return
        with self._timer.stage("encode"):
            self._write(result.item, result.image, result.time)
        self._snapshot(result)

    def signal_lost(self, source: InputSource, image: np.ndarray, time: Fraction) -> None:
        """Append the frame, once a second."""
        if source in self._writers and time - self._last_loss.get(source, -LOSS_INTERVAL) >= LOSS_INTERVAL:
            self._last_loss[source] = time
            self._write(source, image, time)

    def close(self, source: InputSource, error: BaseException | None) -> None:
        """Finish the video, or drop it; see `video_writer`."""
        context = self._contexts.pop(source, None)
        if context is not None:
            del self._writers[source]
            path = self._output / source.target
            with one_output(path):
                context.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
            if error is None or isinstance(error, KeyboardInterrupt):
                self._written.add(path)

    def _write(self, source: InputSource, image: np.ndarray, time: Fraction | None) -> None:
        """Append a frame; after a failure the source gets no further ones."""
        try:
            with one_output(self._output / source.target):
                self._writers[source].write(image, time)
        except SinkError as error:
            del self._writers[source]
            self._contexts.pop(source).__exit__(SinkError, error, error.__traceback__)
            raise

    def _snapshot(self, result: FrameResult) -> None:
        """Write an image of the first frame in each interval of `snapshot_every`."""
        if self._snapshot_every is None or result.image is None or result.time is None:
            return
        number = int(float(result.time) / self._snapshot_every + 1e-6)
        if number > self._last_snapshot.get(result.item, -1):
            copy = self._output / result.item.target
            path = unprotected(copy.with_name(f"{copy.stem}-{result.index:06}.jpg"), self._protected)
            self._last_snapshot[result.item] = sys.maxsize  # after a failure the source gets no further ones
            with one_output(path):
                _refuse_link(path)
                write_image(path, result.image)
            self._last_snapshot[result.item] = number


def unprotected(path: Path, protected: Collection[str]) -> Path:
    """Return the path, or with a number the first one of which no `identities` are protected."""
    free, number = path, 1
    while any(identity in protected for identity in identities(free)):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _refuse_link(path: Path) -> None:
    """Raise `SinkError` for a symbolic link: its file may be anywhere, and is not one of this folder's copies."""
    if path.is_symlink():
        raise SinkError(f"{path}: not written: it is a link to {os.path.realpath(path)}")
