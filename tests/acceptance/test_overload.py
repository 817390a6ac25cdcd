"""Service under overload: rejections, deadlines, disconnects, worker restart, shutdown."""

import asyncio
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from serve.inference.model_pool import ModelSource, ServedModel
from serve.web import request_body
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, image, running, wait_until


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def live(network: FakeNetwork, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    options = getattr(request, "param", {})
    with running({"fake": network.source(batch_size=1)}, **({"deadline_s": 60} | options)) as server:
        yield server
        network.gate.set()


def post_raw(server: RunningServer, content: bytes) -> socket.socket:
    """A connection that has sent a whole POST /detect and has not read its answer."""
    connection = socket.create_connection((server.host, server.port), timeout=60)
    head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def status(connection: socket.socket) -> int:
    return int(connection.makefile("rb").readline().split()[1])


def queued(server: RunningServer) -> int:
    return len(server.service.batcher._jobs)


@pytest.mark.slow
def test_a_thousand_posts_at_once(live: RunningServer, network: FakeNetwork) -> None:
    """Each gets its answer: the queue's 64 are served, most others are sent away, and quickly."""
    network.seconds = 0.002
    content = encoded()

    request = f"POST /detect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"

    async def post() -> bytes:
        reader, writer = await asyncio.open_connection(live.host, live.port)
        writer.write(request.encode() + content)
        answer = await reader.read()
        writer.close()
        return answer

    async def every() -> list[bytes]:
        return await asyncio.wait_for(asyncio.gather(*(post() for _ in range(1000))), 60)

    answers = asyncio.run(every())
    counts = Counter(int(answer.split()[1]) for answer in answers)
    assert counts.keys() <= {200, 429} and counts[200] >= 64
    waits = [int(wait) for answer in answers for wait in re.findall(rb"\nretry-after: (\d+)", answer)]
    assert len(waits) == counts[429] and all(1 <= wait <= 60 for wait in waits)
    assert network.image_count == counts[200]
    assert live.metric("pelee_refused_total", reason="busy", model="fake") == counts[429]
    assert live.client.get("/healthz").status_code == 200 and live.service.admission.pending == 0


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"queue_size": 3}], indirect=True)
def test_a_full_queue_refuses_before_it_reads(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    waiting = [post_raw(live, encoded(image(level=10 + index))) for index in range(3)]
    wait_until(lambda: live.service.admission.pending == 3)
    late = socket.create_connection((live.host, live.port), timeout=60)
    late.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")  # and no body
    assert status(late) == 429
    assert live.client.post("/detect", content=encoded()).status_code == 429
    assert live.metric("pelee_queue_depth") == 3
    network.gate.set()
    assert [status(connection) for connection in waiting] == [200] * 3
    assert live.client.post("/detect/batch", files=[("file", encoded())] * 4).json()["code"] == "too_many_files"
    assert live.client.post("/detect", content=encoded()).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"deadline_s": 0.5}], indirect=True)
def test_a_late_request_is_answered_and_costs_no_inference(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    first = post_raw(live, encoded(image(level=20)))
    wait_until(lambda: network.image_count == 1)
    refused = live.client.post("/detect", content=encoded(image(level=200)))
    assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
    assert status(first) == 504
    assert live.metric("pelee_dropped_total", reason="deadline", model="fake") == 2
    network.gate.set()
    wait_until(lambda: not live.service.batcher._running)
    assert all(level < 100 for batch in network.seen for level in batch)
    assert live.service.admission.pending == 0


@pytest.mark.slow
def test_a_client_that_leaves_the_queue_costs_no_inference(
    live: RunningServer, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A close right after the request looks like the end of its input, whose response is still wanted.
    monkeypatch.setattr("serve.web.uvicorn_protocol.HALF_CLOSE_S", 0.0)
    network.gate.clear()
    stay = post_raw(live, encoded(image(level=20)))
    wait_until(lambda: network.image_count == 1)
    leave = post_raw(live, encoded(image(level=200)))
    wait_until(lambda: queued(live) == 1)
    leave.close()
    wait_until(lambda: live.metric("pelee_dropped_total", reason="disconnect", model="fake") == 1)
    assert live.service.admission.pending == 1
    network.gate.set()
    assert status(stay) == 200
    assert live.client.post("/detect", content=encoded(image(level=30))).status_code == 200
    assert all(level < 100 for batch in network.seen for level in batch)
    assert live.metric("pelee_requests_total", endpoint="/detect", model="fake", status="499") == 1


def test_a_client_that_leaves_while_it_sends(live: RunningServer) -> None:
    connection = socket.create_connection((live.host, live.port), timeout=60)
    connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc")
    wait_until(lambda: live.bodies.buffered == 3)
    connection.close()
    wait_until(lambda: live.bodies.buffered == 0)
    assert live.client.post("/detect", content=encoded()).status_code == 200


class Death(BaseException):
    pass


@pytest.mark.slow
def test_the_inference_thread_dies(live: RunningServer, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.inference.batcher.RESTART_DELAY", 2.0)
    network.error = Death()
    response = live.client.post("/detect", content=encoded())
    assert (response.status_code, response.json()["code"]) == (503, "inference_failed")
    assert response.headers["retry-after"] == "1"
    assert live.client.get("/readyz").status_code == 503
    assert live.client.get("/healthz").status_code == 200
    assert live.client.post("/detect", content=encoded()).status_code == 503
    wait_until(lambda: live.client.get("/readyz").status_code == 200)
    assert live.client.post("/detect", content=encoded()).status_code == 200
    assert live.metric("pelee_inference_restarts_total") == 1


@pytest.mark.slow
def test_it_stops_without_leaving_anybody_alone(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    waiting = [post_raw(live, encoded(image(level=20))) for _ in range(4)]
    wait_until(lambda: live.service.admission.pending == 4)
    live.server.stop()
    refused = live.client.post("/detect", content=encoded())  # a new one, while others are under way
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert live.client.get("/readyz").json()["code"] == "draining"
    assert live.thread.is_alive()
    network.gate.set()
    assert [status(connection) for connection in waiting] == [200] * 4
    for connection in waiting:
        connection.close()
    live.thread.join(20)
    assert not live.thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{live.address}/healthz")


@pytest.mark.slow
@pytest.mark.parametrize("live", [{"grace_s": 0.5}], indirect=True)
def test_it_does_not_wait_longer_than_the_grace_time(live: RunningServer, network: FakeNetwork) -> None:
    network.gate.clear()
    waiting = post_raw(live, encoded())
    wait_until(lambda: live.service.admission.pending == 1)
    live.server.stop()
    live.thread.join(20)
    assert not live.thread.is_alive()
    waiting.close()


@pytest.mark.slow
def test_a_reload_drops_no_request() -> None:
    """Requests go on all the time; each is answered by the old network or by the new one."""
    old, new = FakeNetwork(), FakeNetwork()
    broken = threading.Event()
    loads = iter([old, new, new])

    def load() -> ServedModel:
        if broken.is_set():
            raise OSError("disk")
        return next(loads).source().load()

    key = "k" * 16
    with running({"fake": ModelSource(old.source().card, load)}, api_keys=[key], deadline_s=60) as server:
        stop = threading.Event()
        codes: list[int] = []

        def ask() -> None:
            with httpx.Client(base_url=server.address, headers={"x-api-key": key}, timeout=60) as client:
                while not stop.is_set():
                    codes.append(client.post("/detect", content=encoded()).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: old.image_count > 3)
            server.client.headers["x-api-key"] = key
            assert server.client.post("/models/fake/reload").json()["name"] == "fake"
            seen = old.image_count
            wait_until(lambda: new.image_count > 3)
            assert old.image_count <= seen + 3
            broken.set()
            failed = server.client.post("/models/fake/reload")
            assert (failed.status_code, failed.json()["code"]) == (409, "reload_failed")
            assert "disk" not in failed.text
            assert server.client.post("/models/ghost/reload").status_code == 404
            seen = new.image_count
            wait_until(lambda: new.image_count > seen + 3)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(codes) == {200}
        assert server.metric("pelee_model_reloads_total", model="fake", result="done") == 1
        assert server.metric("pelee_model_reloads_total", model="fake", result="failed") == 1


def test_large_forms_are_taken_apart_in_another_thread(live: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = request_body.files_in

    def spy(*arguments: Any) -> list[bytes]:
        seen.append(threading.current_thread().name.rpartition("_")[0])
        return real(*arguments)

    monkeypatch.setattr(request_body, "files_in", spy)
    assert live.client.post("/detect", files={"file": encoded()}).status_code == 200
    assert live.client.post("/detect", files={"file": encoded() + bytes(1_000_000)}).status_code == 200
    assert seen[0] != "decode" and seen[1] == "decode"


@pytest.mark.slow
def test_large_pictures_do_not_stop_the_event_loop(live: RunningServer) -> None:
    rng = np.random.default_rng(0)
    large = encoded(rng.integers(0, 255, (3000, 3000, 3), dtype=np.uint8), quality=60)
    thread = threading.Thread(target=lambda: live.client.post("/detect", content=large))
    with httpx.Client(base_url=live.address) as other:
        other.get("/healthz")
        thread.start()
        worst = 0.0
        while thread.is_alive():
            start = time.perf_counter()
            assert other.get("/healthz").status_code == 200
            worst = max(worst, time.perf_counter() - start)
    thread.join()
    assert worst < 2  # a decode in the loop's thread would not answer before its end; CPU may be scarce here
