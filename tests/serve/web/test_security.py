"""Security: API keys, origins, headers, request ids, and no secret in the log."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator

import pytest

from serve.errors import ServiceError
from serve.observability.json_logging import JsonFormatter
from serve.web.app import create_app
from serve.web.security import allowed_hosts, check_host, check_key, check_origin
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, running, settings

KEYS = ["first-key-0123456789", "second-key-0123456789"]
CLOSED = [
    ("POST", "/detect"),
    ("POST", "/detect/batch"),
    ("POST", "/classify"),
    ("GET", "/models"),
    ("GET", "/metrics"),
]
CLOSED += [("POST", "/models/fake/reload")]


@pytest.fixture(scope="module")
def live() -> Iterator[RunningServer]:
    with running({"fake": FakeNetwork().source()}, api_keys=KEYS, log_level="info") as server:
        yield server


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("key", [None, "", "wrong", KEYS[0][:-1], KEYS[0] + "x", "first-key-0123456789, x", "ключ"])
def test_a_request_without_a_valid_key_is_unauthorized(
    live: RunningServer, method: str, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"x-api-key": key.encode()}
    response = live.client.request(method, path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert not key or key not in response.text


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_valid(live: RunningServer, key: str) -> None:
    headers = {"x-api-key": key}
    assert live.client.post("/detect", content=encoded(), headers=headers).status_code == 200
    assert live.client.get("/metrics", headers=headers).status_code == 200
    assert live.client.post("/models/fake/reload", headers=headers).status_code == 200


def test_the_key_is_checked_before_the_request(live: RunningServer) -> None:
    response = live.client.post("/detect?model=ghost&conf=0.1", content=bytes(11_000_000))
    assert response.status_code == 401


def test_health_and_page_need_no_key(live: RunningServer) -> None:
    for path in ("/healthz", "/readyz", "/"):
        assert live.client.get(path).status_code == 200


def test_keys_are_compared_in_constant_time_with_all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append(b) or real(a, b))
    keys = settings(api_keys=KEYS).api_keys
    check_key(KEYS[0], keys)
    assert seen == [key.encode() for key in KEYS]
    check_key(None, ())


def test_every_response_has_the_security_headers(live: RunningServer) -> None:
    for path in ("/", "/healthz", "/models", "/nowhere", "/openapi.json"):
        headers = live.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer" and "server" not in headers
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
def test_other_origins_get_no_cors_headers(live: RunningServer, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST", "x-api-key": KEYS[0]}
    assert "access-control-allow-origin" not in live.client.options("/detect", headers=headers).headers
    assert "access-control-allow-origin" not in live.client.get("/models", headers=headers).headers


def test_allowed_origins_get_cors_headers() -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    with running({"fake": FakeNetwork().source()}, cors_origins=["https://good.example"]) as server:
        good = server.client.options("/detect", headers={"origin": "https://good.example", **asked})
        bad = server.client.options("/detect", headers={"origin": "https://bad.example", **asked})
        simple = server.client.get("/healthz", headers={"origin": "https://good.example"})
    assert good.status_code == 200 and good.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in bad.headers
    assert simple.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-credentials" not in simple.headers


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "fine"),
    [
        (None, "a:8000", (), True),
        ("http://a:8000", "a:8000", (), True),
        ("https://A", "a", (), True),
        ("http://b:8000", "a:8000", (), False),
        ("http://a:9000", "a:8000", (), False),
        ("null", "a:8000", (), False),
        ("http://b", "a", ("http://b",), True),
        ("http://a.evil", "a", (), False),
        ("http://b", "a", ("*",), True),
    ],
)
def test_origins_of_websockets(origin: str | None, host: str, allowed: tuple, fine: bool) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    if fine:
        check_origin(headers, allowed)
    else:
        with pytest.raises(ServiceError) as caught:
            check_origin(headers, allowed)
        assert caught.value.status == 403


def test_a_well_formed_request_id_is_kept(live: RunningServer) -> None:
    def sent(value: str) -> str:
        return live.client.get("/healthz", headers={"x-request-id": value}).headers["x-request-id"]

    assert sent("trace-1.2_3") == "trace-1.2_3"
    for bad in ("", "a b", "x" * 65, "<script>", "a\tb"):
        assert sent(bad) not in (bad, "")
    assert sent("") != sent("")


def test_the_log_has_a_line_for_each_request_and_no_secret(
    live: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    image = encoded()
    with caplog.at_level(logging.INFO, logger="pelee.serve"):
        answer = live.client.post("/detect?conf=0.123", content=image, headers={"x-api-key": KEYS[1]})
        live.client.get("/models?key=" + KEYS[0], headers={"x-api-key": "wrong-key-here"})
        live.client.get("/a%0d%0aforged")
        until = time.monotonic() + 10
        while sum(record.getMessage() == "request" for record in caplog.records) < 3 and time.monotonic() < until:
            time.sleep(0.01)  # a line comes after its answer
    text = "\n".join(JsonFormatter().format(record) for record in caplog.records if record.name == "pelee.serve")
    lines = [json.loads(line) for line in text.splitlines()]
    first, second, third = (line for line in lines if line["event"] == "request")
    assert (first["path"], first["status"], first["model"]) == ("/detect", 200, "fake")
    assert first["request_id"] == answer.headers["x-request-id"] and first["ms"] >= 0 and first["client"] == "127.0.0.1"
    assert (second["status"], third["status"]) == (401, 404)
    for secret in (*KEYS, "wrong-key-here", "0.123", "JFIF"):
        assert secret not in text


def test_the_log_of_uvicorn_has_no_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own lines hold the query of a WebSocket's address, and that holds the key."""
    from serve.observability.json_logging import set_up_logging

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    before = {name: logging.getLogger(name).level for name in ("", "uvicorn.error", "pelee.serve")}
    try:
        set_up_logging("debug")
        assert not logging.getLogger("uvicorn.error").isEnabledFor(logging.INFO)
        assert logging.getLogger("pelee.serve").isEnabledFor(logging.DEBUG)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def test_there_are_no_documentation_pages_with_outside_scripts(live: RunningServer) -> None:
    assert live.client.get("/docs").status_code == 404 and live.client.get("/redoc").status_code == 404


def test_telemetry_is_off() -> None:
    app = create_app(settings(), {"fake": FakeNetwork().source()})
    assert not app._native_telemetry.enabled()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("origin", "fine"),
    [("https://pelee.example", True), ("https://pelee.example:8443", True), ("https://pelee.example.evil", False)],
)
def test_the_domains_of_a_proxy_are_origins_of_the_page(origin: str, fine: bool) -> None:
    headers = {"origin": origin, "host": "127.0.0.1:8000"}
    with contextlib.nullcontext() if fine else pytest.raises(ServiceError):
        check_origin(headers, (), ("Pelee.example", "other.example"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, frozenset()),
        ({"host": "localhost"}, frozenset()),
        ({"host": "::1", "allowed_hosts": ["Pelee.example", "[2001:db8::1]"]}, {"pelee.example", "2001:db8::1"}),
        ({"allowed_hosts": ["*"]}, None),
        ({"api_keys": KEYS}, None),
        ({"host": "0.0.0.0"}, None),
        ({"host": "192.0.2.1", "allowed_hosts": ["pelee.example"]}, None),
    ],
)
def test_the_host_is_checked_on_loopback_without_keys(changes: dict, expected: frozenset | None) -> None:
    assert allowed_hosts(settings(**changes)) == expected


@pytest.mark.parametrize("host", ["localhost:8000", "a.localhost", "127.0.0.1", "[::1]:8000", "192.0.2.7", "pelee"])
def test_names_that_no_web_page_can_point_here_are_served(host: str) -> None:
    check_host(host, frozenset())
    check_host(None, frozenset())


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8000", "127.0.0.1.example", "[", ""])
def test_another_domain_is_refused(host: str) -> None:
    with pytest.raises(ServiceError, match="allowed-hosts") as caught:
        check_host(host, frozenset(["pelee.example"]))
    assert caught.value.status == 403
    check_host(host, None)


@pytest.mark.slow
def test_a_rebound_name_reads_nothing_on_loopback() -> None:
    with running({"fake": FakeNetwork().source()}, allowed_hosts=["pelee.example"]) as server:
        for path in ("/models", "/", "/metrics", "/openapi.json"):
            response = server.client.get(path, headers={"host": "rebound.example"})
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")
            assert server.client.get(path, headers={"host": "pelee.example"}).status_code == 200
        assert server.client.get("/healthz", headers={"host": "rebound.example"}).status_code == 200
