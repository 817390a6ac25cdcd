"""RTSP relay: passes a connection between FFmpeg and a camera on, and marks lost packets for `AccessUnits`."""

import contextlib
import re
import selectors
import socket
import threading
import time

from detection.video.capture.rtp_gaps import RtpGaps
from detection.video.capture.rtp_over_udp import RtpOrder, UdpTransport
from detection.video.capture.rtsp_items import DOLLAR, RtspItems, packet

PORT = 554
CHUNK = 1 << 16  # bytes read at once
QUEUE = 1 << 17  # bytes that wait for FFmpeg in the relay; more of them would be latency
ACCEPT = 5.0  # seconds within which FFmpeg connects to the relay
_ADDRESS = re.compile(r"(rtsp://(?:[^@/]*@)?)(\[[^\]]+\]|[^:/?#]*)(?::(\d+))?(.*)", re.DOTALL)
#: Status codes with which a connection without the relay ends, too; a wrong password is not tried twice.
_FINAL = frozenset({0, 200, 401})
_NO_TRANSPORT = 461  # unsupported transport: the camera sends over UDP only


class RtspRelay:
    """Connection to a camera, and a socket on the loopback interface at which FFmpeg finds it.

    A thread passes messages and packets on until either side closes. User and password pass through as FFmpeg sends
    them. Where a camera sends over UDP only, the relay receives its packets and FFmpeg has them from the connection.

    Attributes:
        address: address for FFmpeg.
    """

    def __init__(self, address: str, timeout: float) -> None:
        """Connect to the camera; `OSError` where it does not answer within `timeout` seconds.

        Args:
            address: rtsp:// address with percent-encoded user and password.
            timeout: seconds.
        """
        matched = _ADDRESS.fullmatch(address)
        if matched is None:
            raise ValueError(f"{address.partition('://')[0]}: expected an address of the form rtsp://HOST[:PORT]/PATH")
        user, host, port, path = matched.groups()
        self._camera = socket.create_connection((host.strip("[]"), int(port or PORT)), timeout)
        self._camera.settimeout(None)
        self._camera.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(ACCEPT)
        self.address = f"{user}127.0.0.1:{self._listener.getsockname()[1]}{path}"
        self._gaps = RtpGaps()
        self._requests, self._responses = RtspItems(), RtspItems()
        self._setup = b""  # the last SETUP request
        self._udp: UdpTransport | None = None
        self._order = RtpOrder()
        threading.Thread(target=self._run, name="rtsp-relay", daemon=True).start()

    @property
    def refused(self) -> bool:
        """Whether the camera refused a request for a reason that may be the relay's."""
        return self._gaps.status not in _FINAL

    @property
    def unmarked(self) -> int:
        """Number of gaps without a mark, as FFmpeg leaves out incomplete frames of the codec by itself."""
        return self._gaps.unmarked

    def _run(self) -> None:
        """Accept FFmpeg's connection and pass bytes on; errors of the network end both connections."""
        with self._camera, contextlib.suppress(OSError):
            with self._listener:
                player, _ = self._listener.accept()
            with player:
                player.settimeout(None)
                player.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                player.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE)
                try:
                    self._pass_on(player)
                finally:
                    if self._udp is not None:
                        self._udp.close()

    def _pass_on(self, player: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._camera, selectors.EVENT_READ)
            selector.register(player, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(self._order.left(time.monotonic())):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(CHUNK)
                    if self._udp is not None and source in (self._udp.rtp, self._udp.rtcp):
                        player.sendall(self._marked(self._received(source is self._udp.rtp, data)))
                    elif not data:
                        return
                    elif source is player:
                        self._camera.sendall(b"".join(self._requested(item) for item in self._requests.split(data)))
                    else:
                        had_udp = self._udp is not None
                        player.sendall(self._marked(self._responses.split(data)))
                        if self._udp is not None and self._gaps.status == _NO_TRANSPORT and had_udp:
                            return
                        if self._udp is not None and not had_udp:
                            selector.register(self._udp.rtp, selectors.EVENT_READ)
                            selector.register(self._udp.rtcp, selectors.EVENT_READ)
                if late := self._order.late(time.monotonic()):
                    assert self._udp is not None
                    player.sendall(self._marked([packet(self._udp.channels[0], one) for one in late]))

    def _requested(self, item: bytes) -> bytes:
        """Return what the camera gets of a message or packet of FFmpeg's."""
        if item.startswith(b"SETUP "):
            self._setup = item
            return item if self._udp is None else self._udp.request(item)
        if self._udp is not None and item[0] == DOLLAR:
            self._udp.report(item[4:])
            return b""
        return item

    def _marked(self, items: list[bytes]) -> bytes:
        """Return what FFmpeg gets of the camera's messages and packets."""
        passed = []
        for item in items:
            mark = self._gaps.mark(item)
            if item[0] == DOLLAR:
                passed += [mark, item]
            elif self._gaps.status == _NO_TRANSPORT and self._setup and self._udp is None:
                self._udp = UdpTransport(self._camera)
                self._camera.sendall(self._udp.request(self._setup))
            else:
                passed.append(item if self._udp is None else self._udp.response(item))
        return b"".join(passed)

    def _received(self, is_rtp: bool, data: bytes) -> list[bytes]:
        """Return the packets whose turn it is with a datagram of the camera's."""
        assert self._udp is not None
        contents = self._order.push(data, time.monotonic()) if is_rtp else [data]
        return [packet(self._udp.channels[not is_rtp], content) for content in contents if content]
