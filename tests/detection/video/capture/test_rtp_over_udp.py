"""RTP over UDP: the order of packets, the ports that are asked for, and reports."""

import random
import socket
from collections.abc import Iterator

import pytest

from detection.video.capture.rtp_over_udp import DELAY, WAITING, RtpOrder, UdpTransport

TIMEOUT = 30.0


def packets(*numbers: int) -> list[bytes]:
    return [b"\x80\x60" + (number & 0xFFFF).to_bytes(2, "big") + b"%d" % number for number in numbers]


def ordered(*numbers: int, order: RtpOrder | None = None) -> list[bytes]:
    order = order or RtpOrder()
    return [one for packet in packets(*numbers) for one in order.push(packet, 0.0)]


def test_packets_come_in_order_across_the_end_of_the_numbers() -> None:
    numbers = list(range(65500, 65600))
    mixed = [numbers[0], *sorted(numbers[1:], key=lambda number: number + random.Random(number).random() * 8)]
    assert mixed != numbers
    assert ordered(*mixed) == packets(*numbers)


def test_one_that_comes_twice_or_too_late_is_left_out() -> None:
    assert ordered(5, 6, 6, 4, 7) == packets(5, 6, 7)


def test_a_lost_one_is_waited_for_a_while() -> None:
    order = RtpOrder()
    assert order.left(0.0) is None
    assert ordered(1, 3, 4, order=order) == packets(1)
    assert order.left(0.02) == pytest.approx(DELAY - 0.02)
    assert order.late(DELAY / 2) == []
    assert order.late(DELAY) == packets(3, 4)
    assert order.left(DELAY) is None
    assert ordered(2, 5, order=order) == packets(5)


def test_many_are_not_kept_waiting() -> None:
    behind = list(range(2, 2 + WAITING + 1))
    assert ordered(0, *behind[:-1]) == packets(0)
    assert ordered(0, *behind) == packets(0, *behind)


def test_numbers_that_begin_anew() -> None:
    assert ordered(30000, 30001, 5, 6) == packets(30000, 30001, 5, 6)


@pytest.fixture
def camera() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the relay's side and the camera's."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            yield near, far


def test_setup_asks_for_udp_and_the_answer_is_that_of_a_connection(camera: tuple[socket.socket, socket.socket]) -> None:
    udp = UdpTransport(camera[0])
    asked = udp.request(b"SETUP x RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nCSeq: 3\r\n\r\n")
    port = udp.rtp.getsockname()[1]
    assert port % 2 == 0 and udp.rtcp.getsockname()[1] == port + 1
    expected = b"SETUP x RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=%d-%d\r\nCSeq: 3\r\n\r\n"
    assert asked == expected % (port, port + 1)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp,
    ):
        for one in (rtp, rtcp):
            one.bind(("127.0.0.1", 0))
            one.settimeout(TIMEOUT)
        ports = (rtp.getsockname()[1], rtcp.getsockname()[1])
        answer = b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;server_port=%d-%d\r\nCSeq: 3\r\n\r\n" % ports
        got = udp.response(answer)
        assert got == b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nCSeq: 3\r\n\r\n"
        assert rtp.recv(99)[0] == 0x80 and rtcp.recv(99)[1] == 201  # to open the way
        udp.report(b"report")
        assert rtcp.recv(99) == b"report"
    assert udp.response(b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n") == b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n"
    udp.close()
