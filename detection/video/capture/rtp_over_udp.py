"""RTP over UDP: the sockets for a camera that sends no other way, and the order of its packets."""

import re
import socket
import time

ATTEMPTS = 100  # to find two free ports in a row
BUFFER = 1 << 20  # bytes of a socket; the system may allow less
WAITING = 64  # packets that wait for an earlier one
DELAY = 0.1  # seconds for which they wait
_RESTART = 3000  # a packet so much earlier than expected begins a new sequence (RFC 3550, appendix A.1)
_TRANSPORT = re.compile(rb"^transport\s*:[^\r\n]*", re.IGNORECASE | re.MULTILINE)
_CHANNELS = re.compile(rb"interleaved=(\d+)-(\d+)")
_PORTS = re.compile(rb"server_port=(\d+)(?:-(\d+))?", re.IGNORECASE)
_SOURCE = re.compile(rb"source=([^;,\s]+)", re.IGNORECASE)
#: Datagrams that open the way through a firewall: an RTP header, an empty RTCP receiver report.
_PUNCHES = (b"\x80" + bytes(11), b"\x80\xc9\x00\x01" + bytes(4))


class RtpOrder:
    """Order of RTP packets by their sequence numbers."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._waiting: dict[int, bytes] = {}
        self._since = 0.0

    def push(self, packet: bytes, now: float) -> list[bytes]:
        """Take a packet that arrived at `now`, in seconds; return the packets whose turn it is."""
        number = int.from_bytes(packet[2:4], "big")
        ahead = 0 if self._expected is None else number - self._expected & 0xFFFF
        if ahead >= 1 << 15:
            if (1 << 16) - ahead < _RESTART:
                return []  # too late, or twice
            ahead, self._waiting = 0, {}
        if ahead == 0:
            self._expected = number + 1 & 0xFFFF
            return [packet, *self._next()]
        if not self._waiting:
            self._since = now
        self._waiting[number] = packet
        return self._skip() if len(self._waiting) > WAITING else []

    def left(self, now: float) -> float | None:
        """Return the seconds after which `late` has packets; None where none wait."""
        return max(0.0, self._since + DELAY - now) if self._waiting else None

    def late(self, now: float) -> list[bytes]:
        """Return the packets that waited long enough for the one before them."""
        return self._skip() if self.left(now) == 0 else []

    def _skip(self) -> list[bytes]:
        assert self._expected is not None
        expected = self._expected
        self._expected = min(self._waiting, key=lambda number: number - expected & 0xFFFF)
        self._since = time.monotonic()
        return self._next()

    def _next(self) -> list[bytes]:
        found = []
        while self._expected in self._waiting:
            found.append(self._waiting.pop(self._expected))
            self._expected = self._expected + 1 & 0xFFFF
        return found


class UdpTransport:
    """Two UDP sockets for one media stream: RTP and RTCP.

    FFmpeg asks for packets on the RTSP connection; `request` asks the camera for UDP instead, and `response` tells
    FFmpeg what it asked for.

    Attributes:
        rtp, rtcp: sockets.
        channels: channels of RTP and RTCP on the connection.
    """

    def __init__(self, camera: socket.socket) -> None:
        """Bind the sockets on the address of a connection to the camera; `OSError` where there are no ports."""
        self._host = camera.getpeername()[0]
        self.channels = (0, 1)
        self._ports: tuple[int, int] | None = None
        for _ in range(ATTEMPTS):
            self.rtp = socket.socket(camera.family, socket.SOCK_DGRAM)
            self.rtcp = socket.socket(camera.family, socket.SOCK_DGRAM)
            try:
                self.rtp.bind((camera.getsockname()[0], 0))
                self._port = self.rtp.getsockname()[1]
                if self._port % 2 == 0:
                    self.rtcp.bind((camera.getsockname()[0], self._port + 1))
                    break
            except OSError:
                pass
            self.close()
        else:
            raise OSError("no two free UDP ports in a row")
        self.rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def request(self, setup: bytes) -> bytes:
        """Return FFmpeg's SETUP request with UDP as its transport."""
        channels = _CHANNELS.search(setup)
        if channels:
            self.channels = int(channels[1]), int(channels[2])
        header = b"Transport: RTP/AVP;unicast;client_port=%d-%d" % (self._port, self._port + 1)
        return _TRANSPORT.sub(header, setup, count=1)

    def response(self, message: bytes) -> bytes:
        """Return a response to SETUP with the transport that FFmpeg asked for; other messages as they are."""
        head, separator, body = message.partition(b"\r\n\r\n")
        found = _TRANSPORT.search(head)
        ports = _PORTS.search(found[0]) if found else None
        if found is None or ports is None:
            return message
        self._ports = int(ports[1]), int(ports[2] or int(ports[1]) + 1)
        source = _SOURCE.search(found[0])
        if source:
            self._host = source[1].decode("ascii", "replace")
        for udp, port, punch in zip((self.rtp, self.rtcp), self._ports, _PUNCHES, strict=True):
            udp.sendto(punch, (self._host, port))
        header = b"Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d" % self.channels
        return head[: found.start()] + header + head[found.end() :] + separator + body

    def report(self, content: bytes) -> None:
        """Send an RTCP packet of FFmpeg's to the camera."""
        if self._ports is not None:
            self.rtcp.sendto(content, (self._host, self._ports[1]))

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()
