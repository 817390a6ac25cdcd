"""Video writer: H.264 in an mp4 that every browser plays."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import prod
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from data.atomic_files import atomic_path
from data.errors import ImageError
from detection.video.sound_track import Sound, SoundTrack

if TYPE_CHECKING:
    import av

ROOM = 8 * 2**20  # bytes that must stay free: frames in the encoder, last lines of other files
ROOM_A_FRAME = 32  # upper bound of a frame's bytes in the index
ROOM_LOOKS = 0.5  # seconds between two checks of the disk
READ_BEYOND = 64  # bytes that FFmpeg's conversions may read beyond an image (16, says its documentation)
BT709 = 1  # the code of ITU-T H.273 for its primaries, its transfer and its matrix alike
LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
# Fast start puts the index first, so that a browser begins before it has the whole file.
PLAIN = {"movflags": "+faststart"}
# Fragments of a second (in microseconds), each flushed to the disk, and an index over all of them at the end.
FRAGMENTED = {"movflags": "+hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}


@contextmanager
def video_writer(
    path: Path | str,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction | None = None,
    *,
    crash_safe: bool = False,
    sound: Sound | None = None,
) -> Iterator["VideoWriter"]:
    """Yield a writer of an H.264 mp4, written to a temporary file that is renamed when the block ends.

    Ctrl-C in the block and a full disk, the file's own or another's, finish it as far as it got, and then go on; any
    other error removes it and leaves what stood at `path` before.

    With `crash_safe`, for recordings that cannot be made again, the file is written at `path` itself in fragments of a
    second, so that it can be played while it grows and after the process was killed; it becomes a plain mp4 at the end
    of the block, and is kept on any error.

    Args:
        path: output file; its folder is created.
        size: (width, height) of the frames.
        rate: frames per second.
        time_base: unit of the frames' times in seconds; None for 1 / rate.
        crash_safe: see above; without sound.
        sound: sound of the video file that the frames come from; None for none.

    Raises:
        OSError: the file system's. A disk that is nearly full is one as long as there is room to finish the file.
        ImageError: not one frame was written, or the encoder does not take their size.
    """
    if crash_safe:
        with _recording(Path(path), size, rate, time_base or 1 / rate) as writer:
            yield writer
        return
    interrupt: KeyboardInterrupt | OSError | None = None
    with atomic_path(path) as aside:
        writer = VideoWriter(aside, Path(path), size, rate, time_base or 1 / rate, PLAIN, sound)
        try:
            try:
                yield writer
            except (KeyboardInterrupt, OSError) as error:
                if writer.frames == 0 or writer.broken or not _keeps(error):
                    raise
                interrupt = error
            writer.finish()
        except BaseException:
            writer.drop()
            raise
    if interrupt is not None:
        raise interrupt


@contextmanager
def _recording(path: Path, size: tuple[int, int], rate: Fraction, time_base: Fraction) -> Iterator["VideoWriter"]:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, path, size, rate, time_base, FRAGMENTED)
    try:
        yield writer
    except BaseException:
        if writer.frames == 0:
            writer.drop()
            path.unlink(missing_ok=True)
        elif writer.broken:
            writer.drop()
        else:
            writer.finish()
        raise
    writer.finish()


def _keeps(error: BaseException) -> bool:
    """Whether the frames written before this error are kept."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


class VideoWriter:
    """Writer that `video_writer` yields.

    Attributes:
        frames: number of frames written.
        broken: the file system refused a part of the file, so that it is no video.
    """

    def __init__(
        self,
        aside: Path,
        path: Path,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        options: dict[str, str],
        sound: Sound | None = None,
    ) -> None:
        """Open `aside` for writing, with options of FFmpeg's mp4 muxer; errors name `path`."""
        import av
        from av.video.reformatter import VideoReformatter

        self.frames = 0
        self.broken = False
        self._looked_at = 0.0
        self._reformatter = VideoReformatter()  # shared by all frames: it caches the conversion
        self._scene = np.empty((0, 0, 3), np.uint8)
        self._frame: av.VideoFrame | None = None  # of the scene's memory
        self._path = path
        self._time_base = time_base
        self._step = max(1, round(1 / rate / time_base))  # one frame, in units of time_base
        self._last = -self._step
        # The encoder shares the cores with the network: each step slower than this one costs a third of the rate and
        # saves half of the file at best.
        self._container = av.open(f"file:{aside}", "w", format="mp4", options=options)
        self._stream = self._container.add_stream(
            "libx264", rate=rate.limit_denominator(65_535), options={"preset": "ultrafast", "crf": "21"}
        )
        width, height = size
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = time_base
        # Stated in the file, or players guess the color matrix by the frame's height.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        self._sound: SoundTrack | None = None
        if sound is not None:
            with suppress(av.FFmpegError, OSError):  # a source that does not open twice
                self._sound = SoundTrack(sound, self._container)

    def write(self, image: np.ndarray, time: Fraction | None = None) -> None:
        """Append an (H, W, 3) uint8 RGB frame at `time` seconds from the start, or one frame after the last.

        yuv420p, which every player takes, halves the resolution of colors: an odd width or height is padded by a copy
        of the last column or row.
        """
        self._check_room()
        place = self._last + self._step if time is None else round(time / self._time_base)
        self._last = max(place, self._last + 1, 0)  # an encoder takes only times that grow
        frame = self._to_yuv(image)
        frame.pts, frame.time_base, frame.duration = self._last, self._time_base, self._step
        with self._named_errors():
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.write_until((self._last + self._step) * self._time_base)
        self.frames += 1

    def _to_yuv(self, image: np.ndarray) -> "av.VideoFrame":
        """Return an image as a frame in yuv420p with an even width and height."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        height, width = image.shape[:2]
        shape = (height + height % 2, width + width % 2, 3)
        if self._frame is None or self._scene.shape != shape:
            # Memory of one frame for all: to allocate it anew takes as long as the conversion.
            memory = np.zeros(prod(shape) + READ_BEYOND, np.uint8)
            self._scene = memory[: prod(shape)].reshape(shape)
            self._frame = av.VideoFrame.from_numpy_buffer(self._scene, format="rgb24")
        self._scene[:height, :width] = image
        self._scene[height:] = self._scene[height - 1]
        self._scene[:, width:] = self._scene[:, width - 1 : width]
        return self._reformatter.reformat(
            self._frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )

    def _check_room(self) -> None:
        """Raise ENOSPC while there is still room for the index and for the other files of the run."""
        now = monotonic()
        if now - self._looked_at < ROOM_LOOKS:
            return
        self._looked_at = now
        if shutil.disk_usage(self._path.parent).free < ROOM + ROOM_A_FRAME * self.frames:
            raise OSError(errno.ENOSPC, "the disk is full, and the video ends there", str(self._path))

    def finish(self) -> None:
        """Write the frames held in the encoder, and the index."""
        if self.frames == 0:
            raise ImageError(f"{self._path}: the video got no frame")
        with self._named_errors():
            self._container.mux(self._stream.encode(None))
            if self._sound is not None:
                self._sound.finish()
            self._container.close()

    def drop(self) -> None:
        """Close a file that is discarded."""
        import av

        if self._sound is not None:
            self._sound.close()
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn FFmpeg's errors into `OSError` with the path that the user knows."""
        import av

        try:
            yield
        except av.ExternalError as error:  # libx264 has a message of its own, which FFmpeg drops
            self.broken = True
            size = f"{self._stream.width}x{self._stream.height}"
            raise ImageError(f"{self._path}: not written: the H.264 encoder refuses frames of {size}") from error
        except av.FFmpegError as error:
            self.broken = True
            raise OSError(error.errno, error.strerror, str(self._path)) from error
