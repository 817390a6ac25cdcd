"""Frame numbers of H.264: lost reference frames are found, and nothing else is."""

import io

import av
import numpy as np
import pytest

from detection.video.capture.frame_numbers import FrameNumbers


def units(frames: int = 40, **x264: str) -> list[bytes]:
    """Return the access units of a film of noise, in Annex B format."""
    rng = np.random.default_rng(0)
    with av.open(io.BytesIO(), "w", format="h264") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"preset": "fast", "g": "16", "sc_threshold": "0", **x264}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        found = []
        for number in range(frames + 1):
            image = rng.integers(0, 255, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image) if number < frames else None
            if frame is not None:
                frame.pts = number
            found += [bytes(packet) for packet in stream.encode(frame)]
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "baseline", "tune": "zerolatency"},
        {"profile": "main", "bf": "2"},
        {"profile": "high", "x264-params": "cqm=jvt:bframes=3:b-pyramid=normal:open-gop=1"},
        {"x264-params": "interlaced=1"},
        {"x264-params": "intra-refresh=1:keyint=20"},
    ],
)
def test_a_whole_film_has_no_gap(options: dict[str, str]) -> None:
    numbers = FrameNumbers()
    assert not any(numbers.gap(unit) for unit in units(**options))


@pytest.mark.parametrize("lost", [3, 17])
def test_a_lost_frame_is_found_at_the_next_one(lost: int) -> None:
    numbers = FrameNumbers()
    found = [index for index, unit in enumerate(units(tune="zerolatency")) if index != lost and numbers.gap(unit)]
    assert found == [lost + 1]


def test_before_a_key_frame_nothing_is_missed() -> None:
    numbers = FrameNumbers()
    film = units(tune="zerolatency")
    assert not any(numbers.gap(unit) for index, unit in enumerate(film) if index not in (14, 15))


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x01", b"\x00\x00\x01\x67", b"\x00\x00\x01\x67\xff\xff", b"\xff" * 99])
def test_damaged_data_is_no_gap(data: bytes) -> None:
    numbers = FrameNumbers(data)
    assert not numbers.gap(data) and not numbers.gap(b"\x00\x00\x01\x41")
