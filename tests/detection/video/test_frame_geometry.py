"""Frame geometry: display matrices, mirrored ones included, and pixels that are not square."""

import io
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from detection.video.frame_geometry import RgbConverter, luma_of
from tests.support.rectangle_session import RED, picture

ONE = 1 << 16
MATRICES = {  # a, b, c, d of the display matrix -> the corner of a patch that is stored at the top left, and the size
    (1, 0, 0, 1): ("top left", (128, 96)),
    (-1, 0, 0, 1): ("top right", (128, 96)),
    (1, 0, 0, -1): ("bottom left", (128, 96)),
    (-1, 0, 0, -1): ("bottom right", (128, 96)),
    (0, 1, 1, 0): ("top left", (96, 128)),
    (0, 1, -1, 0): ("top right", (96, 128)),
    (0, -1, 1, 0): ("bottom left", (96, 128)),
    (0, -1, -1, 0): ("bottom right", (96, 128)),
    (0.985, 0.174, -0.174, 0.985): ("top left", (128, 96)),  # turned by 10 degrees
}


def decoded(matrix: tuple[float, float, float, float] | None = None, aspect: Fraction | None = None) -> av.VideoFrame:
    """Return the first frame of an mp4 with a red patch at the top left."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        if matrix is not None:
            a, b, c, d = (round(ONE * value) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(128, 96, (0, 0, 40, 40)))))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_frame_comes_as_its_display_matrix_says(matrix: tuple[float, float, float, float]) -> None:
    corner, size = MATRICES[matrix]
    frame = decoded(matrix)
    converter = RgbConverter()
    image = converter.convert(frame)
    assert converter.upright_size(frame) == size == image.shape[1::-1]
    assert image.flags.c_contiguous and image.dtype == np.uint8
    place = image[10 if "top" in corner else -10, 10 if "left" in corner else -10]
    assert np.abs(place.astype(int) - RED).max() < 12


@pytest.mark.parametrize(
    ("tag", "corner", "size"),
    [
        (1, "top left", (128, 96)),
        (3, "bottom right", (128, 96)),
        (6, "top right", (96, 128)),
        (8, "bottom left", (96, 128)),
    ],
)
def test_frames_with_data_that_pyav_does_not_know(tag: int, corner: str, size: tuple[int, int]) -> None:
    """EXIF in the JPEGs of a camera's video, of which FFmpeg 8 makes data of a kind that PyAV's list lacks."""
    exif = Image.Exif()
    exif[0x0112] = tag
    file = io.BytesIO()
    Image.fromarray(picture(128, 96, (0, 0, 40, 40))).save(file, "JPEG", exif=exif)
    file.seek(0)
    with av.open(file, format="mjpeg") as container:
        frame = next(container.decode(video=0))
    image = RgbConverter().convert(frame)
    assert RgbConverter().upright_size(frame) == size == image.shape[1::-1]
    place = image[10 if "top" in corner else -10, 10 if "left" in corner else -10]
    assert np.abs(place.astype(int) - RED).max() < 12


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (None, (128, 96)),
        (Fraction(2), (256, 96)),
        (Fraction(1, 2), (128, 192)),
        (Fraction(16, 11), (186, 96)),
        (Fraction(23903, 24000), (128, 96)),  # rounding in the file
        (Fraction(1000), (128, 96)),
        (Fraction(0), (128, 96)),
    ],
)
def test_pixels_become_square(aspect: Fraction | None, size: tuple[int, int]) -> None:
    frame = decoded()
    converter = RgbConverter(aspect)
    assert converter.upright_size(frame) == size == converter.convert(frame).shape[1::-1]


def test_the_aspect_is_that_of_the_stored_pixel() -> None:
    assert RgbConverter(Fraction(2)).upright_size(decoded((0, 1, -1, 0))) == (96, 256)


def test_all_frames_of_a_video_have_the_size_of_its_first() -> None:
    assert RgbConverter().convert(decoded((0, 1, -1, 0)), (48, 64)).shape == (64, 48, 3)


def test_luma_is_the_brightness_of_the_stored_frame() -> None:
    frame = decoded()
    luma = luma_of(frame)
    assert luma is not None
    expected = frame.reformat(format="gray").to_ndarray().astype(int)
    assert luma().shape == (96, 128)
    assert luma().std() > 5 and np.corrcoef(luma().ravel(), expected.ravel())[0, 1] > 0.999
    assert luma_of(frame.reformat(format="rgb24")) is None and luma_of(frame.reformat(format="yuv420p10le")) is None


@pytest.mark.parametrize("matrix", [None, (0, 1, -1, 0)])
def test_nothing_refers_to_a_converted_frame(matrix: tuple[float, float, float, float] | None) -> None:
    """It is freed at once, without the garbage collector."""
    frame = decoded(matrix)
    before = sys.getrefcount(frame)
    RgbConverter().convert(frame)
    assert sys.getrefcount(frame) == before
