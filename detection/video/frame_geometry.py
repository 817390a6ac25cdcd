"""Frame geometry: decoded frames to RGB, upright and with square pixels."""

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import av

SQUARE = Fraction(1, 50)  # a pixel aspect this near to 1 comes from rounding in the file
PLANAR = ("yuv4", "yuvj4", "nv12", "gray")  # pixel formats whose first plane is the brightness
WIDEST = 8  # aspect of a pixel; more is an error of the file


class Orientation(NamedTuple):
    """Operations that turn a stored frame upright, in this order."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False


#: Counterclockwise quarter turns.
_TURNS = (Orientation(), Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))


def orientation(frame: "av.VideoFrame") -> Orientation:
    """Orientation of a frame by its display matrix; an angle between quarter turns is rounded to the nearest one.

    The matrix is that of ISO/IEC 14496-12, section 8.2.2: a stored pixel (x, y) is shown at (a x + c y, b x + d y).
    Front cameras write mirrored ones. Where PyAV cannot list a frame's data, only the angle is known.
    """
    from av.sidedata.sidedata import SideDataContainer

    try:
        # Not `frame.side_data`: a frame keeps that container, which refers to the frame. Only the garbage collector
        # would free the two, and with them the image; until then the decoder takes new memory for each frame.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]
    except KeyError:
        return Orientation()
    except ValueError:  # PyAV does not know the kind of some other data: EXIF in a JPEG, the views of a spatial video
        return _TURNS[round(frame.rotation / 90) % 4]
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def luma_of(frame: "av.VideoFrame") -> Callable[[], np.ndarray] | None:
    """Return a function that gives the brightness of a frame as a view, (H, W) uint8; None for formats without one."""
    if not frame.format.name.startswith(PLANAR) or frame.format.components[0].bits != 8:
        return None

    def view() -> np.ndarray:
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[: frame.height, : frame.width]

    return view


class RgbConverter:
    """Converter of decoded frames; it caches the conversion of the last format."""

    def __init__(self, pixel_aspect: Fraction | None = None) -> None:
        """Set the width of a pixel divided by its height; None for square pixels."""
        from av.video.reformatter import VideoReformatter

        usable = pixel_aspect is not None and Fraction(1, WIDEST) <= pixel_aspect <= WIDEST
        self._aspect = pixel_aspect if pixel_aspect and usable and abs(pixel_aspect - 1) > SQUARE else Fraction(1)
        self._reformatter = VideoReformatter()

    def upright_size(self, frame: "av.VideoFrame") -> tuple[int, int]:
        """Return the (width, height) of a frame as it is shown; the stored pixels are never made fewer."""
        width = round(frame.width * max(self._aspect, Fraction(1)))
        height = round(frame.height / min(self._aspect, Fraction(1)))
        return (height, width) if orientation(frame).transpose else (width, height)

    def convert(self, frame: "av.VideoFrame", size: tuple[int, int] | None = None) -> np.ndarray:
        """Return a frame as (height, width, 3) uint8 RGB.

        Args:
            frame: decoded frame.
            size: (width, height) of the result; None for the size as it is shown.
        """
        turn = orientation(frame)
        width, height = self.upright_size(frame) if size is None else size
        if turn.transpose:
            width, height = height, width
        image = self._reformatter.reformat(frame, width, height, "rgb24").to_ndarray()
        if turn.transpose:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1])
