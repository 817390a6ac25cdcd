"""Animated image as a video: GIF, APNG, WebP, AVIF, and the pages of a TIFF."""

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np

from data.errors import ImageError
from data.images.animation import count_frames, read_frames
from detection.video.frames import Frame


class AnimatedImage:
    """Frames of an animated image, decoded by Pillow; a `VideoSource`.

    Attributes:
        every: with N only frames 0, N, 2 N, ... are yielded.
        sound: None.
    """

    every = 1
    sound = None

    def __init__(self, path: str | Path) -> None:
        """Open a file and decode its first frame; `ImageError` where there is none."""
        self.name = str(path)
        self.frames: int | None = count_frames(path)
        self._read = self._named(read_frames(path))
        first = next(self._read, None)
        if first is None:
            raise ImageError(f"{path}: the image holds no frame")
        self._first = first
        self.size = (first[0].shape[1], first[0].shape[0])
        self.rate = 1 / first[1]
        self.time_base = Fraction(1, 1000)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, once, each at the sum of the durations before it."""
        time = Fraction(0)
        for index, (image, duration) in enumerate(chain([self._first], self._read)):
            if index % self.every == 0:
                yield Frame(index, time, image)
            time += duration

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._read.close()

    def _named(self, frames: Iterator[tuple[np.ndarray, Fraction]]) -> Generator[tuple[np.ndarray, Fraction]]:
        """Yield frames; turn errors of the decoder into an `ImageError`."""
        count = 0
        try:
            for frame in frames:
                yield frame
                count += 1
        except Exception as error:  # Pillow raises errors of all kinds on damaged data
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"{self.name}: only {count} of {self.frames} frames could be read ({reason})") from error
