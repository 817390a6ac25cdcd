"""Server process: start, output, signals, graceful shutdown."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.sync.client import connect

from data.errors import SettingsError
from serve.commands.serve import main
from serve.web.server import bind
from tests.support.fake_server import FakeNetwork, encoded, running, wait_until
from tests.support.paths import ROOT

SLOW = str(ROOT / "tests" / "support" / "slow_server_process.py")
KEY = "never-to-be-printed-key"


class Process:
    """A server process, its address, and what it wrote."""

    def __init__(self, seconds: float, *flags: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SLOW, str(seconds), "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    def wait(self) -> None:
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        if not self.first.startswith("Pelee serves"):
            pytest.fail(f"it did not start: {self.process.communicate()}")
        self.address = next(word for word in self.first.split() if word.startswith("http://")).rstrip(";")
        wait_until(self.ready)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/readyz").status_code == 200
        except httpx.ConnectError:
            return False

    def end(self) -> tuple[int, list[dict]]:
        """Its exit code and its log."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@contextmanager
def process(seconds: float = 0.0, *flags: str, **environment: str) -> Iterator[Process]:
    made = Process(seconds, *flags, **environment)
    try:
        made.wait()
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_running_requests_and_exits_0(number: signal.Signals) -> None:
    """Three requests in progress are answered before the process exits."""
    answers: list[int] = []

    def ask() -> None:
        answers.append(httpx.post(f"{server.address}/detect", content=encoded(), timeout=30).status_code)

    with process(0.4, "--deadline-s", "30", "--grace-s", "20") as server:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()

        def under_way() -> bool:
            return "pelee_queue_depth 3.0" in httpx.get(f"{server.address}/metrics").text

        wait_until(under_way)
        server.process.send_signal(number)
        for thread in threads:
            thread.join()
        code, log = server.end()
    assert code == 0 and answers == [200] * 3
    assert [line["event"] for line in log if line["event"] != "request"] == ["start", "ready", "end"]
    assert all(line["level"] == "info" for line in log)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))  # aborted in two of five runs
def test_a_second_signal_ends_the_process_at_once(attempt: int) -> None:
    with process(30.0, "--deadline-s", "60", "--grace-s", "60") as server:
        thread = threading.Thread(target=lambda: _ask_in_vain(server.address))
        thread.start()
        wait_until(lambda: "pelee_queue_depth 1.0" in httpx.get(f"{server.address}/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.address}/readyz").json()["code"] == "draining")
        server.process.send_signal(signal.SIGTERM)
        code, log = server.end()
        thread.join()
    assert code == 0 and all(line["level"] == "info" for line in log)


@pytest.mark.slow
def test_repeated_signals_exit_0() -> None:
    with process() as server:
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
        code, log = server.end()
    assert code == 0 and all(line["level"] == "info" for line in log)


@pytest.mark.slow
def test_a_request_that_outlasts_the_grace_time_gets_503() -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(f"{server.address}/detect", content=encoded(), timeout=30))

    with process(30.0, "--deadline-s", "60", "--grace-s", "0.5") as server:
        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: "pelee_queue_depth 1.0" in httpx.get(f"{server.address}/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        code, log = server.end()
    assert code == 0 and not [line for line in log if "exception" in line]
    assert answers[0].status_code == 503 and answers[0].json()["code"] == "draining"
    assert answers[0].headers["connection"] == "close" and answers[0].headers["retry-after"]


def _ask_in_vain(address: str) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{address}/detect", content=encoded(), timeout=30).raise_for_status()


@pytest.mark.slow
def test_the_log_has_the_settings_and_no_key() -> None:
    with process(0.0, "--queue-size", "9", PELEE_API_KEYS=KEY, PELEE_DEADLINE_S="70") as server:
        assert server.first.startswith("Pelee serves fake at http://127.0.0.1:")
        server.process.send_signal(signal.SIGHUP)
        assert httpx.post(f"{server.address}/detect", content=encoded(), headers={"x-api-key": KEY}).status_code == 200
        server.process.terminate()
        code, log = server.end()
    assert code == 0
    settings = log[0]["settings"]
    assert (settings["queue_size"], settings["deadline_s"], settings["api_keys"]) == (9, 70.0, 1)
    assert "reloaded" in [line["event"] for line in log]
    assert KEY not in json.dumps(log)


@pytest.mark.slow
def test_refused_handshakes_do_not_disturb_the_end() -> None:
    head = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX: " + b"x" * 9000 + b"\r\n\r\n"
    with process() as server, contextlib.ExitStack() as held:
        host, _, port = server.address.removeprefix("http://").partition(":")
        for _ in range(20):
            held.enter_context(socket.create_connection((host, int(port)), timeout=60)).sendall(head)
        server.process.terminate()
        code, log = server.end()
    assert code == 0 and all(line["level"] == "info" for line in log)


@pytest.mark.slow
def test_a_closed_connection_whose_client_does_not_read_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` waits for the last bytes to be read."""
    with running({"fake": FakeNetwork().source()}, header_timeout_s=0.3) as server:
        server.client.get("/healthz")
        (protocol,) = server.server.server_state.connections
        aborted: list[bool] = []
        monkeypatch.setattr(
            protocol, "transport", SimpleNamespace(is_closing=lambda: True, abort=lambda: aborted.append(True))
        )
        wait_until(lambda: aborted)
        monkeypatch.undo()


@pytest.mark.slow
def test_connections_that_cannot_be_closed_in_order_are_aborted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object) -> None:
        raise RuntimeError

    with running({"fake": FakeNetwork().source()}) as server, contextlib.ExitStack() as held:
        held.enter_context(socket.create_connection((server.host, server.port)))
        held.enter_context(connect(f"ws://{server.host}:{server.port}/ws"))
        wait_until(lambda: len(server.server.server_state.connections) == 2)
        monkeypatch.setattr(H11Protocol, "shutdown", fail)
        monkeypatch.setattr(WebSocketsSansIOProtocol, "shutdown", fail)
        server.server.stop()
        server.thread.join(20)
        assert not server.thread.is_alive()
    assert sum("could not be closed in order" in record.message for record in caplog.records) == 2


@pytest.mark.slow
def test_a_port_in_use_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with running({"fake": FakeNetwork().source()}) as first:
        assert main(["--port", str(first.port)]) == 2
        out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith(f"error: port {first.port} of 127.0.0.1 is taken") and "--port" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "ghost"], "ghost"),
        (["--port", "99999"], "--port"),
        (["--host", "no.such.host.invalid"], "cannot listen"),
        (["--host", "203.0.113.1"], "cannot listen"),
        (["--model", "pelee-voc", "--model", "pelee-voc"], "two models"),
    ],
)
def test_a_server_that_cannot_start_prints_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: ") and message in err


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from data.command_line import run
    from data.errors import WeightsError
    from serve.inference.model_pool import ModelSource
    from serve.settings import load_settings
    from serve.web.server import serve

    def load() -> None:
        raise WeightsError("model.safetensors: is damaged")

    monkeypatch.setattr("serve.web.server.set_up_logging", lambda level: None)  # it is for the whole process
    source = ModelSource(FakeNetwork().source().card, load)  # type: ignore[arg-type]
    assert run(lambda: serve(load_settings(port=0, log_level="error"), {"fake": source})) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: model.safetensors: is damaged"


def test_bind_takes_ipv6_and_a_free_port() -> None:
    with bind("127.0.0.1", 0) as first:
        assert first.getsockname()[1] > 0
        with pytest.raises(SettingsError, match="is taken"):
            bind("127.0.0.1", first.getsockname()[1])
    if socket.has_ipv6:
        try:
            bind("::1", 0).close()
        except SettingsError as error:
            assert "cannot listen" in str(error)  # a machine without IPv6 on its loopback


@pytest.mark.slow
def test_the_service_imports_no_torch() -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "serve").rglob("*.py")]
    names = [".".join(path.parts) for path in paths if path.stem != "__init__" and "migrations" not in path.parts]
    assert "serve.web.routes" in names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(sorted({'torch','torchvision','supervision','matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
