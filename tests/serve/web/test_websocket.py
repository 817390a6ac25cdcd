"""WebSocket /ws: settings, frames, errors, one frame in flight, authorization."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from serve.observability.json_logging import JsonFormatter
from serve.web.websocket import FrameStream
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, image, running, wait_until

KEY = "a-key-of-some-length"


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def live(network: FakeNetwork, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    options = {"deadline_s": 60, "max_body_mb": 1.0} | getattr(request, "param", {})
    sources = {"fake": network.source(), "second": FakeNetwork().source("second")}
    sources["classes"] = FakeNetwork(classification=True).source("classes")
    with running(sources, **options) as server:
        yield server
        network.gate.set()


def open_socket(server: RunningServer, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/ws{query}", **options)


def ask(socket: ClientConnection, message: bytes | dict | str) -> dict:
    socket.send(json.dumps(message) if isinstance(message, dict) else message)
    answer = socket.recv(20)
    assert isinstance(answer, str)
    return json.loads(answer)


@pytest.mark.slow
def test_frames_and_settings(live: RunningServer) -> None:
    with open_socket(live) as socket:
        first = ask(socket, encoded())
        assert (first["type"], first["width"], first["height"]) == ("detections", 80, 60)
        assert [found["label"] for found in first["detections"]] == ["bright thing"]
        timings = first["timings_ms"]
        assert timings.keys() == {"decode", "queue", "network", "postprocess", "total"}
        assert timings["total"] >= max(timings[stage] for stage in ("decode", "queue", "network"))

        wanted = {"type": "settings", "model": "second", "conf": 0.3, "iou": 0.5, "classes": ["dark thing"]}
        wanted |= {"tiles": "2"}
        assert ask(socket, wanted) == wanted
        before = live.service.models.get("second", "detection").session.image_count  # type: ignore[attr-defined]
        assert [found["label"] for found in ask(socket, encoded(image(40, 30)))["detections"]] == ["dark thing"]
        after = live.service.models.get("second", "detection").session.image_count  # type: ignore[attr-defined]
        assert after == before + 5, "the frame and four tiles"
        defaults = {"type": "settings", "model": "fake", "conf": 0.5, "iou": 0.45, "classes": None, "tiles": "off"}
        assert ask(socket, {"type": "settings"}) == defaults
        assert ask(socket, {"type": "settings", "conf": 0}) == defaults | {"conf": 0}
        assert len(ask(socket, encoded())["detections"]) == 2
    assert live.metric("pelee_requests_total", endpoint="/ws", model="fake", status="200") == 2


BAD_SETTINGS: list[tuple[dict | str, str]] = [
    ("{", "invalid_parameter"),
    ("[]", "invalid_parameter"),
    ({"type": "other"}, "invalid_parameter"),
    ({"type": "settings", "conf": 2}, "invalid_parameter"),
    ({"type": "settings", "tiles": "9"}, "invalid_parameter"),
    ('{"type": "settings", "conf": NaN}', "invalid_parameter"),
    ({"type": "settings", "conf": "0.5"}, "invalid_parameter"),
    ({"type": "settings", "classes": ["ghost"]}, "invalid_parameter"),
    ({"type": "settings", "classes": "dog"}, "invalid_parameter"),
    ({"type": "settings", "unknown": 1}, "invalid_parameter"),
    ({"type": "settings", "model": "ghost"}, "unknown_model"),
    ({"type": "settings", "model": "classes"}, "invalid_parameter"),
]
BAD_FRAMES = [(b"", "empty"), (b"hello", "unsupported_picture"), (encoded()[:-300], "unreadable_picture")]


@pytest.mark.slow
def test_an_error_keeps_the_connection_and_the_settings(live: RunningServer) -> None:
    with open_socket(live) as socket:
        settings = ask(socket, {"type": "settings", "conf": 0.1})
        ids = set()
        for message, code in [*BAD_SETTINGS, *BAD_FRAMES]:
            answer = ask(socket, message)
            assert (answer["type"], answer["code"]) == ("error", code), message
            assert answer["message"] and "\n" not in answer["message"] and "ghost'}" not in answer["message"]
            ids.add(answer["request_id"])
        assert len(ids) == 1 + len(BAD_FRAMES)
        assert len(ask(socket, encoded())["detections"]) == 2
        assert settings["conf"] == 0.1


def test_invalid_outputs_and_bugs_keep_the_connection(
    live: RunningServer, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_socket(live) as socket:
        network.invalid = True
        assert ask(socket, encoded())["code"] == "model_invalid"
        network.invalid = False
        with monkeypatch.context() as patch:
            patch.setattr("serve.inference.service.to_dict", lambda *_: 1 / 0)
            assert ask(socket, encoded())["code"] == "internal_error"
        assert ask(socket, encoded())["type"] == "detections"


@pytest.mark.slow
def test_one_frame_is_in_flight(live: RunningServer, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames sent ahead are answered in order, and never processed in parallel."""
    streams: list[FrameStream] = []
    monkeypatch.setattr(
        "serve.web.websocket.FrameStream", lambda *args: streams.append(FrameStream(*args)) or streams[0]
    )
    network.gate.clear()
    with open_socket(live) as socket:
        for level in (20, 40, 60, 80):
            socket.send(encoded(image(level=level)))
        wait_until(lambda: network.image_count == 1)
        # The second frame has arrived, and the first is still in the network.
        wait_until(lambda: streams[0]._next is not None and streams[0]._next.done())
        assert live.service.admission.pending == 1 and network.image_count == 1
        network.gate.set()
        assert [json.loads(socket.recv(20))["type"] for _ in range(4)] == ["detections"] * 4
    levels = [round(level / 20) for batch in network.seen for level in batch if level]
    assert levels == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_frame_of_a_disconnected_client_is_dropped(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    with open_socket(live) as socket:
        socket.send(encoded())
        wait_until(lambda: live.service.admission.pending == 1)
    wait_until(lambda: live.service.admission.pending == 0)
    assert live.metric("pelee_dropped_total", reason="disconnect", model="fake") == 1
    wait_until(lambda: live.metric("pelee_websockets") == 0)


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"queue_size": 1}], indirect=True)
def test_a_full_queue_is_an_error_with_retry_after(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    with open_socket(live) as first, open_socket(live) as second:
        first.send(encoded())
        wait_until(lambda: live.service.admission.pending == 1)
        answer = ask(second, encoded())
        assert (answer["code"], answer["retry_after"]) == ("busy", 1)
        assert live.metric("pelee_refused_total", reason="busy", model="fake") == 1
        network.gate.set()
        assert json.loads(first.recv(20))["type"] == "detections"
        assert ask(second, encoded())["type"] == "detections"


def test_the_log_has_a_line_for_each_websocket_and_no_key(
    live: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="pelee.serve"):
        with open_socket(live, "?key=a-secret", additional_headers={"X-Request-ID": "one"}) as socket:
            ask(socket, encoded())
            ask(socket, encoded())
        wait_until(lambda: any(record.getMessage() == "websocket" for record in caplog.records))
    (line,) = (JsonFormatter().format(record) for record in caplog.records if record.getMessage() == "websocket")
    fields = json.loads(line)
    assert (fields["request_id"], fields["status"], fields["frames"], fields["client"]) == ("one", 101, 2, "127.0.0.1")
    assert "secret" not in line


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"max_buffered_mb": 1.0, "max_websockets": 5}], indirect=True)
def test_all_websockets_hold_at_most_max_buffered_mb(live: RunningServer) -> None:
    with open_socket(live) as socket:
        assert ask(socket, bytes(100_000))["code"] == "unsupported_picture"
        socket.send(bytes(100_001))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


def test_a_frame_over_the_limit_closes_the_websocket(live: RunningServer) -> None:
    with open_socket(live) as socket:
        socket.send(bytes(1_000_001))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
    assert live.client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_an_idle_websocket_is_closed(live: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.web.websocket.IDLE_TIMEOUT", 0.1)
    with open_socket(live) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001


def denied(server: RunningServer, query: str = "", **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(server, query, **options)
    response = caught.value.response
    assert json.loads(response.body)["request_id"] == response.headers["x-request-id"]
    assert server.metric("pelee_requests_total", endpoint="/ws", model="", status=str(response.status_code)) >= 1
    assert response.headers["content-type"] == "application/json"
    return response.status_code, json.loads(response.body)["code"]


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"api_keys": [KEY]}], indirect=True)
def test_a_key_is_taken_from_the_query_or_the_header(live: RunningServer) -> None:
    assert denied(live) == (401, "unauthorized")
    assert denied(live, "?key=wrong") == (401, "unauthorized")
    with open_socket(live, f"?key={KEY}") as socket:
        assert ask(socket, encoded())["type"] == "detections"
    with open_socket(live, additional_headers={"X-API-Key": KEY}) as socket:
        assert ask(socket, encoded())["type"] == "detections"


def test_pages_of_other_origins_are_refused(live: RunningServer) -> None:
    assert denied(live, origin="https://elsewhere.example") == (403, "forbidden")
    assert denied(live, origin="null") == (403, "forbidden")
    with open_socket(live, origin=live.address) as socket:
        assert ask(socket, encoded())["type"] == "detections"


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"max_websockets": 2}], indirect=True)
def test_websockets_over_the_limit_are_refused(live: RunningServer) -> None:
    with open_socket(live), open_socket(live):
        assert denied(live) == (429, "busy")
        assert live.metric("pelee_refused_total", reason="busy", model="") == 1
        assert live.metric("pelee_websockets") == 2
    wait_until(lambda: live.service.open_sockets == 0)
    with open_socket(live) as socket:
        assert ask(socket, encoded())["type"] == "detections"


def test_a_stopping_server_finishes_frames_and_closes_websockets(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    with open_socket(live) as busy, open_socket(live) as other:
        busy.send(encoded())
        wait_until(lambda: live.service.admission.pending == 1)
        live.server.stop()
        assert ask(other, encoded())["code"] == "draining"
        network.gate.set()
        assert json.loads(busy.recv(20))["type"] == "detections"
        with pytest.raises(ConnectionClosed) as caught:
            other.recv(20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1012
    live.thread.join(20)
    assert not live.thread.is_alive()
