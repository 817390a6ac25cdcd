"""Images on stdin: both forms, and data of neither form."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import ImageError
from detection.video.frames import Frame
from detection.video.stdin_reader import ImageStream
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT
from tests.support.rectangle_session import picture


def jpeg(width: int = 64, thumbnail: bool = False, **options: object) -> bytes:
    """A JPEG, on demand with another one inside one of its segments, as cameras have it."""
    file = io.BytesIO()
    Image.fromarray(picture(width, 48, (8, 8, 40, 40))).save(file, "JPEG", **options)
    data = file.getvalue()
    if not thumbnail:
        return data
    inner = jpeg(16)
    return data[:2] + b"\xff\xe4" + struct.pack(">H", 2 + len(inner)) + inner + data[2:]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(50, 40, (8, 8, 30, 30))).save(file, "PNG")
    return file.getvalue()


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class Pipe:
    """A pipe that a thread fills in pieces of a size."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.read_end, self._write_end = os.pipe()
        self._thread = threading.Thread(target=self._fill, args=(data, piece))
        self._thread.start()

    def _fill(self, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            os.write(self._write_end, data[start : start + piece])
        os.close(self._write_end)

    def close(self) -> None:
        os.read(self.read_end, 1 << 20)
        self._thread.join()
        os.close(self.read_end)


@pytest.fixture
def read() -> Iterator[object]:
    pipes: list[Pipe] = []

    def run(data: bytes, piece: int = 4096) -> Iterator[Frame | ImageError]:
        pipes.append(Pipe(data, piece))
        return iter(ImageStream(pipes[-1].read_end))

    yield run
    for pipe in pipes:
        pipe.close()


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_concatenated_jpegs(read, piece: int) -> None:
    kinds = [jpeg(64), jpeg(80, thumbnail=True), jpeg(96, progressive=True), jpeg(72, restart_marker_blocks=1)]
    assert kinds[1].count(b"\xff\xd8") == 2 and b"\xff\xd1" in kinds[3]
    frames = list(read(b"".join(kinds), piece))
    assert [(frame.index, frame.image.shape) for frame in frames] == [
        (index, (48, width, 3)) for index, width in enumerate((64, 80, 96, 72))
    ]
    for frame, data in zip(frames, kinds, strict=True):
        np.testing.assert_array_equal(frame.image, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    times = [frame.time for frame in frames]
    assert times[0] == 0 and times == sorted(times)


@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_images_of_any_format_after_their_lengths(read, piece: int) -> None:
    frames = list(read(framed(png()) + framed(jpeg()), piece))
    assert [frame.image.shape for frame in frames] == [(40, 50, 3), (48, 64, 3)]


def test_jpegs_without_their_ends_are_told_apart() -> None:
    """As some cameras send them."""
    content = b"".join(jpeg(width)[:-2] for width in (64, 80)) + jpeg(96)
    pipe = Pipe(content, 4096)
    warnings: list[str] = []
    frames = list(ImageStream(pipe.read_end, warnings.append))
    pipe.close()
    assert [frame.image.shape for frame in frames] == [(48, width, 3) for width in (64, 80, 96)]
    # The decoder misses the last two bytes of some.
    assert warnings and all("on stdin: the JPEG is cut off" in warning for warning in warnings)


def test_nothing_on_stdin_is_nothing(read) -> None:
    assert list(read(b"")) == []


def test_an_unreadable_image_is_reported_and_the_rest_goes_on(read) -> None:
    found = list(read(framed(png()) + framed(b"no image") + framed(png())))
    assert [isinstance(one, ImageError) for one in found] == [False, True, False]
    assert str(found[1]).startswith("image 1 on stdin: ") and "\n" not in str(found[1])
    assert found[2].index == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a...", "begins with 47 49 46 38; expected a JPEG, or 4 bytes of length"),
        (b"\x00\x00\x00\x00", "begins with 00 00 00 00"),
        (b"\x00", "ends inside image 0"),
        (framed(png())[:-5], "ends inside image 0"),
        (jpeg()[:-2], "ends inside image 0"),
        (jpeg() + jpeg()[:30], "ends inside image 1"),
        (b"\xff\xd8\x00\x00\x00\x00", "is a damaged JPEG"),
    ],
)
def test_data_that_is_no_stream_of_images(read, data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as error:
        list(read(data))
    assert "\n" not in str(error.value)


COMMAND = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import detection.detector
from tests.support.rectangle_session import make_detector
detection.detector.Detector.load = lambda name, **options: make_detector()
from detection.commands import detect as cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_each_image_has_its_line_before_the_next_one_comes(tmp_path: Path) -> None:
    """As a program uses it that sends an image and waits for the answer; and ctrl-C ends it while it waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "-", "--json", "-", "--output", "out"],
        preexec_fn=allow_sigint,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    for index, width in enumerate((64, 128, 100)):
        process.stdin.write(jpeg(width))
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        assert (line["source"], line["frame"], line["width"]) == ("-", index, width)
        assert line["time"] >= 0 and [one["label"] for one in line["detections"]] == ["red thing"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"stdin-00000{n}.jpg" for n in range(3)]
