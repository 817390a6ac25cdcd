"""Connection timeouts and limits on real sockets, and the contract with uvicorn's internals."""

import ast
import asyncio
import contextlib
import inspect
import json
import socket
import textwrap
import time
from collections.abc import Iterator

import h11
import httpx
import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from serve.web.server import Server
from serve.web.uvicorn_protocol import CHUNKS_A_TURN, MAX_HEADER_LINES, BoundedConnection, GuardedProtocol
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, running, wait_until


@pytest.fixture(scope="module")
def live() -> Iterator[RunningServer]:
    options = {"header_timeout_s": 0.6, "body_timeout_s": 0.8, "max_body_mb": 1.0, "deadline_s": 60}
    with running({"fake": FakeNetwork().source()}, **options) as server:
        yield server


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=60)


def everything(connection: socket.socket) -> bytes:
    """Return what is received until the server closes the connection."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:
        pass
    return content


def dribble(connection: socket.socket, text: bytes, seconds: float = 60.0) -> None:
    """Send a byte every 50 ms, until the server closes the connection."""
    until = time.monotonic() + seconds
    try:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
            assert time.monotonic() < until, "the server did not close the connection"
    except (ConnectionResetError, BrokenPipeError):
        pass


HEAD = b"POST /detect HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.slow
def test_a_connection_without_a_request_is_closed(live: RunningServer) -> None:
    before = live.metric("pelee_connections_cut_off_total", reason="slow")
    assert everything(connect(live)) == b""
    assert live.metric("pelee_connections_cut_off_total", reason="slow") == before + 1


@pytest.mark.slow
def test_a_slow_header_is_aborted(live: RunningServer) -> None:
    connection = connect(live)
    dribble(connection, HEAD + b"X-Slow: " + b"a" * 400)
    assert everything(connection) == b""


@pytest.mark.slow
def test_a_slow_header_of_a_later_request_is_aborted(live: RunningServer) -> None:
    connection = connect(live)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    dribble(connection, HEAD + b"X-Slow: " + b"a" * 400)
    assert b"HTTP" not in everything(connection)


@pytest.mark.slow
@pytest.mark.parametrize("framing", [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfff\r\n"])
def test_a_slow_body_is_refused(live: RunningServer, framing: bytes) -> None:
    connection = connect(live)
    connection.sendall(HEAD + b"Connection: close\r\n" + framing)
    dribble(connection, b"x" * 25)
    answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408") and b"body_timeout" in answer


@pytest.mark.slow
def test_a_body_that_continues_after_the_response_is_aborted(live: RunningServer) -> None:
    connection = connect(live)
    connection.sendall(HEAD + b"Content-Length: 5000000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    dribble(connection, b"x" * 1000)


@pytest.mark.slow
def test_a_client_that_does_not_read_is_aborted() -> None:
    """The answers are more than what the two systems keep for the client."""
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    content = encoded(noise, quality=30)
    request = HEAD + f"Accept: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
    with (
        running({"fake": FakeNetwork().source()}, header_timeout_s=2, deadline_s=60) as server,
        socket.socket() as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(60)
        slow.connect((server.host, server.port))
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100):  # sent ahead; each answer is some 900 KB
                slow.sendall(request)
            pytest.fail("the server did not close the connection")
        cut = [server.metric("pelee_connections_cut_off_total", reason=reason) for reason in ("unread", "slow")]
        assert sum(cut) == 1  # "slow" where this machine is: then the next request came too late


@pytest.mark.parametrize(
    "text",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["tls", "nonsense", "no host"],
)
def test_invalid_http_is_a_bad_request(live: RunningServer, text: bytes) -> None:
    connection = connect(live)
    connection.sendall(text)
    head, _, body = everything(connection).partition(b"\r\n\r\n")
    if head:  # a system that has unread bytes may throw the answer away
        assert head.startswith(b"HTTP/1.1 400") and b"nosniff" in head
        assert json.loads(body)["code"] == "bad_request"
    assert live.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("text", [b"X: " + b"a" * 1_000_000, b"a:\r\n" * MAX_HEADER_LINES], ids=["bytes", "lines"])
def test_a_header_that_is_too_large_is_refused(live: RunningServer, text: bytes) -> None:
    connection = connect(live)
    with contextlib.suppress(ConnectionError):
        connection.sendall(HEAD + text + b"\r\n\r\n")
    head, _, body = everything(connection).partition(b"\r\n\r\n")
    if head:  # a system that has unread bytes may throw the answer away
        assert head.startswith(b"HTTP/1.1 431") and json.loads(body)["code"] == "header_too_large"
    content = encoded()
    lines = b"\n" * 2 * MAX_HEADER_LINES  # of a body, which is no header
    fields = [b"Connection: close", b"Content-Length: %d" % len(content + lines), *[b"a:"] * (MAX_HEADER_LINES - 5)]
    connection = connect(live)
    connection.sendall(HEAD + b"\r\n".join(fields) + b"\r\n\r\n" + content + lines)
    assert everything(connection).startswith(b"HTTP/1.1 200")


def test_small_chunks_are_parsed_in_turns() -> None:
    """A turn of the event loop for all that has come would keep other requests waiting for half a second."""
    parser = BoundedConnection(h11.SERVER)
    parser.receive_data(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
    assert isinstance(parser.next_event(), h11.Request)
    for _ in range(1000 // CHUNKS_A_TURN):
        parser.chunks_left = CHUNKS_A_TURN
        assert all(isinstance(parser.next_event(), h11.Data) for _ in range(CHUNKS_A_TURN))
        assert parser.next_event() is h11.NEED_DATA
    parser.chunks_left = CHUNKS_A_TURN
    assert isinstance(parser.next_event(), h11.EndOfMessage)


@pytest.mark.slow
def test_a_body_of_small_chunks_arrives_whole_and_is_not_read_ahead(
    live: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unparsed = []
    receive_data = BoundedConnection.receive_data

    def record(self: BoundedConnection, data: bytes) -> None:
        unparsed.append(len(self.trailing_data[0]))
        receive_data(self, data)

    monkeypatch.setattr(BoundedConnection, "receive_data", record)
    content = encoded() + bytes(900_000)
    chunks = b"".join(b"40\r\n%b\r\n" % content[i : i + 64].ljust(64, b"\0") for i in range(0, len(content), 64))
    connection = connect(live)
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    connection.sendall(request + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = everything(connection)
    assert answers.count(b"HTTP/1.1 200") == 2 and answers.endswith(b'{"status": "ok"}')
    assert max(unparsed) < 70  # of a chunk that is still to come


def test_bad_chunks_end_their_connection_only(live: RunningServer) -> None:
    connection = connect(live)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
    everything(connection)
    assert live.client.post("/detect", content=encoded()).status_code == 200


def test_a_client_that_closes_gets_its_413(live: RunningServer) -> None:
    """As urllib does: it announces the close, and sends everything before it reads."""
    connection = connect(live)
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: 3000000\r\n\r\n")
    connection.sendall(bytes(3_000_000))
    assert everything(connection).startswith(b"HTTP/1.1 413")


def test_pipelined_requests_are_answered_in_order(live: RunningServer) -> None:
    connection = connect(live)
    content = encoded()
    one = HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content
    connection.sendall(one * 3 + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = everything(connection)
    assert answers.count(b"HTTP/1.1 200") == 4 and answers.endswith(b'{"status": "ok"}')


@pytest.mark.skipif(not hasattr(socket, "TCP_NODELAY"), reason="nothing to set")
def test_connections_have_tcp_nodelay(live: RunningServer) -> None:
    """Otherwise its body waits until the client has acknowledged its head, which takes 40 ms."""
    connection = connect(live)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    sockets = [one.transport.get_extra_info("socket") for one in live.server.server_state.connections]  # type: ignore[union-attr]
    assert sockets and all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets)
    connection.close()


@pytest.mark.slow
def test_a_connection_over_the_limit_is_rejected() -> None:
    with running({"fake": FakeNetwork().source()}, max_connections=5) as server:
        held = [connect(server) for _ in range(5)]
        wait_until(lambda: len(server.server.server_state.connections) == 5)
        answer = everything(connect(server))
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answer
        assert server.metric("pelee_connections_cut_off_total", reason="too_many") == 1
        for connection in held:
            connection.close()
        wait_until(lambda: not server.server.server_state.connections)
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_a_request_over_the_limit_gets_its_rejection() -> None:
    """The connection is not closed while the request arrives: the client's system would discard the response."""
    with running({"fake": FakeNetwork().source()}, max_connections=1) as server, connect(server) as held:
        wait_until(lambda: len(server.server.server_state.connections) == 1)
        for _ in range(20):
            response = httpx.get(f"{server.address}/models")
            assert response.status_code == 503 and response.json()["code"] == "not_ready"
            assert httpx.get(f"{server.address}/healthz").status_code == 200
        wait_until(lambda: len(server.server.server_state.connections) == 1)
        assert held.fileno() > 0


@pytest.mark.slow
def test_an_idle_connection_is_closed_after_the_header_timeout(live: RunningServer) -> None:
    """In order, and not counted as slow."""
    before = live.metric("pelee_connections_cut_off_total", reason="slow")
    with connect(live) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        content = b""
        while part := connection.recv(65536):  # header and body may come apart; ends with the connection
            content += part
        assert content.startswith(b"HTTP/1.1 200")
    assert live.metric("pelee_connections_cut_off_total", reason="slow") == before


@pytest.mark.slow
def test_an_idle_connection_stays_for_a_longer_header_timeout() -> None:
    with running({"fake": FakeNetwork().source()}, header_timeout_s=3600) as server, connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        (protocol,) = server.server.server_state.connections
        wait_until(lambda: protocol.timeout_keep_alive_task is not None)
        assert protocol.timeout_keep_alive_task.when() - protocol.loop.time() > 3599


def test_a_client_that_ends_its_input_with_its_requests_gets_all_responses(live: RunningServer) -> None:
    content = encoded()
    one = HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content
    for count in (1, 3):
        connection = connect(live)
        connection.sendall(one * count)
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection).count(b"HTTP/1.1 200") == count


def test_a_body_that_is_parsed_in_turns_may_end_the_input(live: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its turns take."""
    monkeypatch.setattr("serve.web.uvicorn_protocol.CHUNKS_A_TURN", 1)
    monkeypatch.setattr("serve.web.uvicorn_protocol.HALF_CLOSE_S", 0.05)
    handle_events = GuardedProtocol.handle_events

    def slow(self: GuardedProtocol) -> None:
        time.sleep(0.02)
        handle_events(self)

    monkeypatch.setattr(GuardedProtocol, "handle_events", slow)
    content = encoded()
    step = len(content) // 6 + 1
    sixths = [content[start : start + step] for start in range(0, len(content), step)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in sixths)
    connection = connect(live)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    assert everything(connection).startswith(b"HTTP/1.1 200")


def test_a_client_that_ends_its_input_within_a_request_is_closed(live: RunningServer) -> None:
    for part in (b"POST /det", HEAD + b"Content-Length: 5000\r\n\r\nx", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET"):
        connection = connect(live)
        connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection).count(b"HTTP/1.1 ") <= 1


@pytest.mark.slow
def test_a_client_that_ends_its_input_later_has_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.web.uvicorn_protocol.HALF_CLOSE_S", -1.0)
    network = FakeNetwork()
    content = encoded()
    with running({"fake": network.source()}, deadline_s=60) as server, connect(server) as connection:
        network.gate.clear()
        connection.sendall(HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        wait_until(lambda: server.service.admission.pending == 1)
        connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: server.metric("pelee_dropped_total", reason="disconnect", model="fake") == 1)
        network.gate.set()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /detect HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["with content-length", "in HTTP 1.0"],
)
def test_an_ambiguous_length_ends_the_connection(live: RunningServer, head: bytes) -> None:
    connection = connect(live)
    connection.sendall(head + b"5\r\nhello\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = everything(connection)
    assert answers.startswith(b"HTTP/1.1 400") and answers.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answers.lower() and b"one length only" in answers


@pytest.mark.slow
def test_connections_end_with_their_response_while_the_server_stops(live: RunningServer) -> None:
    with running({"fake": FakeNetwork().source()}) as server, connect(server) as connection:
        server.service.admission.draining = True
        content = encoded()
        connection.sendall(HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answers = everything(connection)
    assert answers.startswith(b"HTTP/1.1 503") and b"connection: close" in answers.lower()
    assert b"draining" in answers and b"retry-after" in answers


# Contract with uvicorn's internals


def attributes_of_self(source: type) -> set[str]:
    """Names that a class reads from or calls on `self`, and does not define itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    own = set(vars(source)) | set(source.__annotations__)
    return used - own


def missing(base: object, source: type, inherited: set[str]) -> str:
    names = sorted(name for name in inherited if not hasattr(base, name))
    return (
        f"uvicorn {uvicorn.__version__} lacks {names} of {type(base).__name__}, which {source.__module__} uses: adapt "
        "that module, or lower the upper bound of uvicorn in pyproject.toml"
    ) * bool(names)


def overridden(source: type) -> set[str]:
    return {name for name, value in vars(source).items() if inspect.isfunction(value) and not name.startswith("_")}


async def app(scope: object, receive: object, send: object) -> None:
    pass


def test_uvicorn_still_has_the_internals_of_the_protocol() -> None:
    loop = asyncio.new_event_loop()
    try:
        base = H11Protocol(uvicorn.Config(app), ServerState(), {}, loop)
    finally:
        loop.close()
    found = missing(base, GuardedProtocol, attributes_of_self(GuardedProtocol) | overridden(GuardedProtocol))
    assert not found, found
    for name in overridden(GuardedProtocol):
        ours, theirs = (
            list(inspect.signature(getattr(one, name)).parameters) for one in (GuardedProtocol, H11Protocol)
        )
        assert ours == theirs, f"uvicorn {uvicorn.__version__}: {name} takes {theirs}; see serve.web.uvicorn_protocol"
    assert "response_complete" in RequestResponseCycle.__init__.__code__.co_names, (
        f"uvicorn {uvicorn.__version__}: RequestResponseCycle.response_complete is gone; see serve.web.uvicorn_protocol"
    )


def test_uvicorn_still_has_the_internals_of_the_server() -> None:
    base = uvicorn.Server(uvicorn.Config(app))
    own = {"app", "service", "settings", "stop_at", "stop", "max_connections"} | {
        n for n in vars(Server) if n.startswith("_")
    }
    own |= {name for name in attributes_of_self(Server) if name.startswith("_")} | {
        "lifespan"
    }  # set by uvicorn's serve
    found = missing(base, Server, (attributes_of_self(Server) | overridden(Server)) - own)
    assert not found, found
    assert "self.lifespan" in inspect.getsource(uvicorn.Server), "uvicorn.Server.lifespan is gone; see serve.web.server"
