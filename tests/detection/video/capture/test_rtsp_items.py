"""RTSP items: messages and packets out of any pieces of bytes."""

import pytest

from detection.video.capture.rtsp_items import RtspItems
from tests.detection.video.capture.test_rtp_gaps import described, packet


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_items_are_found_in_whatever_pieces_the_bytes_come(size: int) -> None:
    expected = [described(b"H264"), packet(1), packet(2, body=b""), b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n", packet(3)]
    sent = b"".join(expected)
    items = RtspItems()
    assert [one for at in range(0, len(sent), size) for one in items.split(sent[at : at + size])] == expected


def test_cameras_that_end_lines_as_they_like() -> None:
    answer, request = b"RTSP/1.0 200 OK\nContent-Length: 2\n\nab", b"SET_PARAMETER x RTSP/1.0\r\n\r\n"
    sent = answer + b"\r\n" + packet(1) + request
    assert RtspItems().split(sent) == [answer, b"\r\n", packet(1), request]


@pytest.mark.parametrize(
    "sent", [b"a=more than its length\r\n" + packet(1), b"\x00\x01" + packet(1), b"x" * 300_000, b"\x16\x03\x01"]
)
def test_bytes_that_are_no_rtsp_are_passed_on(sent: bytes) -> None:
    items = RtspItems()
    assert items.split(described(b"H264") + sent) == [described(b"H264"), sent]
    assert items.split(b"$") == [b"$"]
