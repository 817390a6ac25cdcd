"""RTP gaps: marks where packets are missing, and everything else as it came."""

import struct

import pytest

from detection.video.capture.rtp_gaps import GAP_MARKS, RtpGaps
from detection.video.capture.rtsp_items import RtspItems

SDP = (
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\ncontent-length: %d\r\n\r\n"
    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 %s/90000\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


def described(encoding: bytes) -> bytes:
    body = SDP.partition(b"\r\n\r\n")[2] % encoding
    return SDP.partition(b"\r\n\r\n")[0] % len(body) + b"\r\n\r\n" + body


def packet(number: int, kind: int = 96, channel: int = 0, body: bytes = b"\x41\x9a$RTSP") -> bytes:
    head = struct.pack(">BBHII", 0x80, kind, number & 0xFFFF, number * 1800, 7)
    return struct.pack(">BBH", 0x24, channel, len(head) + len(body)) + head + body


def passed(data: bytes, gaps: RtpGaps) -> bytes:
    return b"".join(gaps.mark(item) + item for item in RtspItems().split(data))


@pytest.mark.parametrize(("encoding", "codec"), [(b"H264", "h264"), (b"h265", "hevc"), (b"MP4V-ES", "mpeg4")])
def test_a_gap_has_a_mark(encoding: bytes, codec: str) -> None:
    before = [packet(number) for number in (65533, 65534, 65535, 65536)]  # numbers begin anew: no gap
    behind = [packet(65539), packet(65540)]
    begin = b"".join([described(encoding), *before, packet(900, kind=200, channel=1)])
    end = b"".join(behind)
    gaps = RtpGaps()
    found = passed(begin + end, gaps)
    assert found.startswith(begin) and found.endswith(end)
    payload = GAP_MARKS[codec] if codec == "mpeg4" else GAP_MARKS[codec][4:]
    assert found[len(begin) : -len(end)] == packet(65538, body=payload)[:8] + behind[0][8:16] + payload
    assert gaps.status == 200


def test_lost_sound_and_other_codecs_have_no_marks() -> None:
    for sent in (
        described(b"H264") + packet(1, kind=0, channel=2) + packet(9, kind=0, channel=2),
        described(b"JPEG") + packet(1) + packet(9),
        packet(1) + packet(9),
    ):
        gaps = RtpGaps()
        assert passed(sent, gaps) == sent and gaps.unmarked == 1


def test_a_packet_without_a_whole_header_is_passed_on() -> None:
    sent = described(b"H264") + b"$\x00\x00\x02\x80\x60" + packet(1)
    assert passed(sent, RtpGaps()) == sent
