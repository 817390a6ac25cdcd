"""Opening of a video source by its name."""

from detection.video.camera import Camera
from detection.video.frames import Capture
from detection.video.network.network_stream import Stream
from detection.video.source_names import is_pattern
from detection.video.synthetic_pattern import Pattern


def open_capture(address: str) -> Capture:
    """Open cam0, a device path, a test pattern or an address on the network; `ImageError` where it does not open."""
    if is_pattern(address):
        return Pattern(address)
    return Stream(address) if "://" in address else Camera(address)
