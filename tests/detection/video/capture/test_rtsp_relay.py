"""RTSP relay: what passes through it, refusals that may be its own, and its end."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from detection.video.capture.rtp_gaps import GAP_MARKS
from detection.video.capture.rtsp_relay import RtspRelay
from tests.detection.video.capture.test_rtp_gaps import described, packet

TIMEOUT = 30.0


@pytest.fixture
def camera() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        yield server


def connect(camera: socket.socket) -> tuple[RtspRelay, socket.socket, socket.socket]:
    """Return a relay, the player's socket and the camera's."""
    relay = RtspRelay(f"rtsp://a:b%40@127.0.0.1:{camera.getsockname()[1]}/live?x=1", TIMEOUT)
    far, _ = camera.accept()
    parts = urlsplit(relay.address)
    assert (parts.username, parts.password, parts.path, parts.query) == ("a", "b%40", "/live", "x=1")
    near = socket.create_connection((parts.hostname or "", parts.port or 0), TIMEOUT)
    far.settimeout(TIMEOUT)
    return relay, near, far


def read(source: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or those up to the end."""
    data = b""
    while len(data) < size and (more := source.recv(size - len(data))):
        data += more
    return data


def test_both_ways_and_the_mark_of_a_gap(camera: socket.socket) -> None:
    relay, near, far = connect(camera)
    request = b"DESCRIBE x RTSP/1.0\r\nCSeq: 2\r\n\r\n"
    near.sendall(request)
    assert read(far, len(request)) == request
    head = described(b"H264") + packet(1)
    far.sendall(head + packet(3))
    far.close()
    got = read(near, 1 << 20)
    assert got.startswith(head) and got.endswith(packet(3)) and GAP_MARKS["h264"][4:] in got
    assert not relay.refused
    near.close()


@pytest.mark.parametrize(("status", "refused"), [(401, False), (404, True), (454, True), (461, True)])
def test_a_refusal_that_may_be_the_relay_s_is_told(camera: socket.socket, status: int, refused: bool) -> None:
    relay, near, far = connect(camera)
    far.sendall(b"RTSP/1.0 %d No\r\nCSeq: 1\r\n\r\n" % status)
    far.close()
    assert read(near, 1 << 20).startswith(b"RTSP/1.0")  # and then the end
    assert relay.refused == refused
    near.close()
    far.close()


def test_a_camera_that_sends_over_udp_only(camera: socket.socket) -> None:
    relay, near, far = connect(camera)
    setup = b"SETUP x RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nCSeq: 3\r\n\r\n"
    near.sendall(setup)
    assert read(far, len(setup)) == setup
    refusal = b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 3\r\n\r\n"
    far.sendall(described(b"H264") + refusal)
    asked = far.recv(999)
    matched = re.search(rb"client_port=(\d+)-(\d+)", asked)
    assert matched and b"TCP" not in asked
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(TIMEOUT)
        far.sendall(b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;server_port=%d-9\r\n\r\n" % udp.getsockname()[1])
        expected = described(b"H264") + b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        assert read(near, len(expected)) == expected
        for number in (1, 3, 2, 5):
            udp.sendto(packet(number)[4:], ("127.0.0.1", int(matched[1])))
    expected = packet(1) + packet(2) + packet(3)
    assert read(near, len(expected)) == expected
    payload = GAP_MARKS["h264"][4:]
    behind = read(near, len(packet(4, body=payload) + packet(5)))
    assert payload in behind and behind.endswith(packet(5))
    assert not relay.refused
    far.sendall(refusal)  # of UDP, too
    assert near.recv(999) == refusal and near.recv(1) == b"" and relay.refused
    near.close()
    far.close()


@pytest.mark.parametrize("side", [lambda near, far: near, lambda near, far: far])
def test_the_end_of_either_side_ends_the_other(camera: socket.socket, side: Callable[..., socket.socket]) -> None:
    _, near, far = connect(camera)
    first = side(near, far)
    other = far if first is near else near
    first.close()
    assert other.recv(1) == b""
    other.close()
    for thread in [thread for thread in threading.enumerate() if thread.name == "rtsp-relay"]:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(ConnectionRefusedError):
        RtspRelay("rtsp://127.0.0.1:9/x", TIMEOUT)
    with pytest.raises(ValueError, match="rtsp://HOST"):
        RtspRelay("http://127.0.0.1:9/x", TIMEOUT)
