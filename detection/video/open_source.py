"""Opening of video sources by name, and the kind of a file by its content."""

from pathlib import Path
from typing import TYPE_CHECKING

from data.images.animation import ANIMATED_SUFFIXES, count_frames
from data.images.image_io import IMAGE_SUFFIXES
from data.images.signatures import HEAD, is_image, may_be_animated
from detection.video.animated_image import AnimatedImage
from detection.video.frames import Capture
from detection.video.source_names import VIDEO_SUFFIXES, is_address, is_pattern
from detection.video.video_file import COVER, VideoFile

if TYPE_CHECKING:
    from detection.video.capture.network_stream import PacketTap

#: Suffixes that other kinds of files have as well: program text, for one.
SHARED_SUFFIXES = frozenset({".ts", ".mts", ".dv", ".rm"})
#: Formats of FFmpeg that take text, or a still image, for a video.
_NO_VIDEOS = frozenset({"tty", "image2", "mpjpeg"})


def open_capture(address: str, on_packet: "PacketTap | None" = None) -> Capture:
    """Open cam0, a device path, a test pattern or an address on the network; `ImageError` where it does not open.

    `on_packet` is that of `Stream`; cameras and the test pattern have no packets.
    """
    if is_pattern(address):
        from detection.video.capture.synthetic_pattern import Pattern

        return Pattern(address)
    if "://" in address:
        from detection.video.capture.network_stream import Stream

        return Stream(address, on_packet)
    from detection.video.capture.camera import Camera

    return Camera(address)


def open_video(path: str) -> VideoFile | AnimatedImage:
    """Open a video file, the address of a recording, or an animated image; `ImageError` where it does not open."""
    if not is_address(path) and _is_animated(_head(path), path):
        return AnimatedImage(path)
    return VideoFile(path)


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, or an animated image, by its content; by its name where the content says nothing."""
    suffix = Path(path).suffix.lower()
    head = _head(path)
    if is_image(head):
        return suffix in (".mjpeg", ".mjpg") or _is_animated(head, path)
    if suffix in VIDEO_SUFFIXES and suffix not in SHARED_SUFFIXES:
        return True
    return _opens_as_video(path)


def is_video_of_folder(path: Path) -> bool:
    """Whether a file of a folder is a video or an animated image: by its suffix, and by its content where that tells.

    Folders hold many files, so that only those are opened whose suffix leaves it open.
    """
    suffix = path.suffix.lower()
    if suffix in SHARED_SUFFIXES or suffix in ANIMATED_SUFFIXES:
        return is_video(path)
    return suffix not in IMAGE_SUFFIXES and suffix in VIDEO_SUFFIXES


def _head(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(HEAD)
    except OSError:  # whatever reads it says why it cannot
        return b""


def _is_animated(head: bytes, path: str | Path) -> bool:
    return is_image(head) and may_be_animated(head) and count_frames(path) > 1


def _opens_as_video(path: str | Path) -> bool:
    import av

    try:
        with av.open(f"file:{path}") as container:
            names = set(container.format.name.split(","))
            still = not names.isdisjoint(_NO_VIDEOS) or any(name.endswith("_pipe") for name in names)
            return not still and any(not stream.disposition & COVER for stream in container.streams.video)
    except (av.FFmpegError, OSError, ValueError):
        return False
