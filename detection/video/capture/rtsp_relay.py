"""RTSP relay: passes a connection between FFmpeg and a camera on, and marks lost packets for `AccessUnits`."""

import contextlib
import re
import selectors
import socket
import threading

from detection.video.capture.rtp_gaps import RtpGaps

PORT = 554
CHUNK = 1 << 16  # bytes read at once
QUEUE = 1 << 17  # bytes that wait for FFmpeg in the relay; more of them would be latency
ACCEPT = 5.0  # seconds within which FFmpeg connects to the relay
_ADDRESS = re.compile(r"(rtsp://(?:[^@/]*@)?)(\[[^\]]+\]|[^:/?#]*)(?::(\d+))?(.*)", re.DOTALL)
#: Status codes that a connection without the relay would get, too: authentication, and a wrong path.
_FINAL = frozenset({0, 200, 401, 403, 404})
_NO_TRANSPORT = 461  # the camera sends over UDP only, beside this connection


class RtspRelay:
    """Connection to a camera, and a socket on the loopback interface at which FFmpeg finds it.

    A thread passes the bytes on until either side closes. User and password pass through as FFmpeg sends them.

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
        threading.Thread(target=self._run, name="rtsp-relay", daemon=True).start()

    @property
    def refused(self) -> bool:
        """Whether the camera refused a request for a reason that may be the relay's."""
        return self._gaps.status not in _FINAL

    def _run(self) -> None:
        """Accept FFmpeg's connection and pass bytes on; errors of the network end both connections."""
        with self._camera, contextlib.suppress(OSError):
            with self._listener:
                player, _ = self._listener.accept()
            with player:
                player.settimeout(None)
                player.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                player.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE)
                self._pass_on(player)

    def _pass_on(self, player: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._camera, selectors.EVENT_READ)
            selector.register(player, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    if source is player:
                        self._camera.sendall(data)
                    else:
                        player.sendall(self._gaps.marked(data))
                        if self._gaps.status == _NO_TRANSPORT:
                            return
