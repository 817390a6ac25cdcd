"""WebSocket protocol on real sockets: refused handshakes, floods, clients that do not read."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from serve.web.uvicorn_websocket import (
    FRAMES_A_TURN,
    LARGEST_SLICE,
    SMALLEST_SLICE,
    GuardedWebSocket,
    HandshakeProtocol,
)
from tests.serve.web.test_uvicorn_protocol import app, attributes_of_self, missing, overridden
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, running, wait_until

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TEXT, BINARY, PING, CONTINUATION, FINAL = 0x1, 0x2, 0x9, 0x0, 0x80


@pytest.fixture(scope="module")
def live() -> Iterator[RunningServer]:
    with running({"fake": FakeNetwork().source()}, header_timeout_s=1, deadline_s=60) as server:
        yield server


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=60)


def until_closed(connection: socket.socket) -> bytes:
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            content += part
    return content


def refusal(server: RunningServer, request: bytes) -> tuple[int, dict[str, str]]:
    """Status and body of the response to a handshake; the connection has to end with it."""
    connection = connect(server)
    connection.sendall(request)
    head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/json" in lines and b"connection: close" in lines
    assert b"x-content-type-options: nosniff" in lines
    error = json.loads(body)
    assert f"x-request-id: {error['request_id']}".encode() in lines
    return int(head.split()[1]), error


def frame(opcode: int, content: bytes = b"") -> bytes:
    """A client's frame, masked by zeros."""
    length = struct.pack("!B", 0x80 | len(content)) if len(content) < 126 else struct.pack("!BH", 0xFE, len(content))
    return bytes([opcode]) + length + bytes(4) + content


def opened(server: RunningServer, headers: bytes = b"") -> socket.socket:
    connection = connect(server)
    connection.sendall(HANDSHAKE + headers + b"\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return connection


def received_bytes(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes. MSG_WAITALL gives fewer on a socket with a timeout."""
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        assert part, "the connection was closed"
        content += part
    return content


def received_text(connection: socket.socket) -> dict[str, str]:
    """The next text message; other frames are skipped."""
    while True:
        opcode, length = received_bytes(connection, 2)
        if length == 126:
            (length,) = struct.unpack("!H", received_bytes(connection, 2))
        content = received_bytes(connection, length)
        if opcode == FINAL | TEXT:
            return json.loads(content)


# Handshakes


@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        (HANDSHAKE + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431, "header_too_large"),
        (HANDSHAKE.replace(b"/ws", b"/ws?" + b"a" * 9000) + b"\r\n", 414, "uri_too_long"),
        (HANDSHAKE + b"".join(b"X-%d: a\r\n" % number for number in range(130)) + b"\r\n", 431, "header_too_large"),
        (HANDSHAKE + b"Content-Length: 5\r\n\r\nhello", 400, "bad_request"),
        (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key") + b"\r\n", 400, "bad_request"),
        (HANDSHAKE.replace(b": 13", b": 12") + b"\r\n", 400, "bad_request"),
        (HANDSHAKE.replace(b"GET", b"POST") + b"\r\n", 405, "method_not_allowed"),
        (HANDSHAKE.replace(b"/ws", b"/elsewhere") + b"\r\n", 404, "not_found"),
        (HANDSHAKE.replace(b"localhost", b"rebound.example") + b"\r\n", 403, "forbidden"),
        (HANDSHAKE + b"Origin: https://elsewhere.example\r\n\r\n", 403, "forbidden"),
    ],
    ids=["long header", "long path", "many headers", "body", "no key", "version", "POST", "path", "host", "origin"],
)
def test_a_refused_handshake_is_answered_as_json_and_ended(
    live: RunningServer, request_text: bytes, status: int, code: str
) -> None:
    given, error = refusal(live, request_text)
    assert (given, error["code"]) == (status, code) and "\n" not in error["message"]
    wait_until(lambda: not live.server.server_state.connections)


def test_a_handshake_with_long_cookies_is_accepted(live: RunningServer) -> None:
    """A browser sends the cookies of all programs on localhost, and the library takes no line over 8 kB."""
    with opened(live, b"Cookie: " + b"c" * 9000 + b"\r\n") as connection:
        connection.sendall(frame(FINAL | TEXT, b'{"type": "settings"}'))
        assert received_text(connection)["type"] == "settings"


@pytest.mark.slow
def test_a_handshake_while_the_server_stops_is_refused() -> None:
    with running({"fake": FakeNetwork().source()}) as server:
        server.service.admission.draining = True
        status, error = refusal(server, HANDSHAKE + b"\r\n")
    assert (status, error["code"]) == (503, "draining")


# Floods


@pytest.mark.slow
def test_small_fragments_are_joined_as_they_come(live: RunningServer) -> None:
    with opened(live) as connection:
        content = b'{"type": "settings"}'
        middle = [frame(CONTINUATION, bytes([byte])) for byte in content[1:-1]]
        parts = [frame(TEXT, content[:1]), *middle, frame(FINAL | CONTINUATION, content[-1:])]
        connection.sendall(b"".join(parts))
        assert received_text(connection)["type"] == "settings"
        (protocol,) = live.server.server_state.connections
        connection.sendall(frame(BINARY, b"") + frame(CONTINUATION, b"x") * 3000 + frame(CONTINUATION) * 3000)
        wait_until(lambda: len(protocol.frames) == 1 and len(protocol.frames[0]) == 3000)
        connection.sendall(frame(FINAL | CONTINUATION))
        assert received_text(connection)["code"] == "unsupported_picture"


@pytest.mark.slow
def test_small_messages_wait_unparsed(live: RunningServer) -> None:
    count = 5000
    with opened(live) as connection:
        connection.sendall(frame(FINAL | TEXT, b"{}") * count)
        (protocol,) = live.server.server_state.connections
        most = 0
        for _ in range(count):
            most = max(most, protocol.queue.qsize())
            assert received_text(connection)["code"] == "invalid_parameter"
    assert most <= LARGEST_SLICE / len(frame(FINAL | TEXT, b"{}"))


@pytest.mark.slow
def test_a_client_that_floods_with_pings_and_does_not_read_is_disconnected() -> None:
    """Nothing is read from it while its responses wait."""
    pings = frame(FINAL | PING, b"p" * 125) * 500
    with running({"fake": FakeNetwork().source()}, header_timeout_s=1) as server, opened(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        (protocol,) = server.server.server_state.connections
        most, cut_off = 0, True
        try:
            for _ in range(2000):
                connection.sendall(pings)
                most = max(most, protocol.transport.get_write_buffer_size())
            pytest.fail("the server read more than 100 MB of pings whose responses were not read")
        except TimeoutError:
            cut_off = False  # it only stopped to read: the kernel's buffers held the responses so far
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert most < 200_000
        assert server.metric("pelee_connections_cut_off_total", reason="unread") == int(cut_off)
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_other_clients_are_served_during_a_flood(live: RunningServer) -> None:
    """A turn of the event loop parses a bounded number of frames."""
    with opened(live) as connection:
        (protocol,) = live.server.server_state.connections
        counts: list[int] = []
        turn = protocol._parse

        def counted() -> None:
            before = protocol.conn.frame_count
            turn()
            counts.append(protocol.conn.frame_count - before)

        protocol._parse = counted
        connection.sendall(frame(CONTINUATION | BINARY) + frame(CONTINUATION) * 20_000 + frame(FINAL | CONTINUATION))
        assert received_text(connection)["code"] == "empty"
    assert max(counts) <= FRAMES_A_TURN + LARGEST_SLICE / len(frame(CONTINUATION)) and sum(counts) >= 20_000
    assert sorted(counts)[len(counts) // 2] <= FRAMES_A_TURN + SMALLEST_SLICE / len(frame(CONTINUATION))


def test_a_long_text_message_is_refused(live: RunningServer) -> None:
    with opened(live) as connection:
        connection.sendall(frame(TEXT, b" " * 60_000) + frame(FINAL | CONTINUATION, b" " * 60_000))
        assert "characters" in received_text(connection)["message"]


@pytest.mark.slow
def test_a_handshake_that_the_application_does_not_answer_is_ended(
    live: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: GuardedWebSocket) -> None:
        pass

    monkeypatch.setattr(WebSocketsSansIOProtocol, "run_asgi", never)
    before = live.metric("pelee_connections_cut_off_total", reason="slow")
    connection = connect(live)
    connection.sendall(HANDSHAKE + b"\r\n")
    assert until_closed(connection) == b""
    assert live.metric("pelee_connections_cut_off_total", reason="slow") == before + 1


def test_frames_larger_than_a_slice_arrive_whole(live: RunningServer) -> None:
    content = encoded()
    with opened(live) as connection:
        connection.sendall(frame(FINAL | BINARY, content + bytes(20_000)))
        assert received_text(connection)["type"] == "detections"


# Contract with the internals of uvicorn and websockets


def test_uvicorn_still_has_the_internals_of_the_protocol() -> None:
    config = uvicorn.Config(app)
    config.load()
    base = WebSocketsSansIOProtocol(config, ServerState(), {}, object())  # type: ignore[arg-type]
    found = missing(base, GuardedWebSocket, attributes_of_self(GuardedWebSocket) | overridden(GuardedWebSocket))
    assert not found, found
    assert not missing(ServerProtocol(), HandshakeProtocol, overridden(HandshakeProtocol))
