"""Reverse proxies: the nginx and Caddy recipes of docs/serve.md and docs/video.md, run in front of a server."""

import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from detection.display.mjpeg_server import OWN_REQUEST, WebView
from serve.observability.json_logging import JsonFormatter
from tests.support.documentation import blocks
from tests.support.fake_server import FakeNetwork, RunningServer, encoded, running, wait_until
from tests.support.paths import ROOT
from tests.support.ports import free_port

DOMAIN = "pelee.example.org"
SETTINGS = {"allowed_hosts": [DOMAIN], "trusted_proxies": ["127.0.0.1"], "root_path": "/pelee"}
CLIENT = "127.0.0.2"  # the proxy's address is 127.0.0.1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not installed"
    ),
]


class Certificate(NamedTuple):
    """Files of a self-signed certificate."""

    path: Path
    key: Path


class Proxy(NamedTuple):
    """Running proxy, and the server behind it."""

    name: str
    port: int
    server: RunningServer
    client: httpx.Client

    def open_websocket(self, origin: str | None = None) -> ClientConnection:
        """Open /pelee/ws under the proxy's domain; its name is not resolved."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        context = ssl._create_unverified_context()
        address = f"wss://{DOMAIN}:{self.port}/pelee/ws"
        return open_websocket(address, sock=connection, ssl=context, server_hostname=DOMAIN, origin=origin)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={DOMAIN}"]
    command += ["-addext", f"subjectAltName=DNS:{DOMAIN}", "-keyout", str(made.key), "-out", str(made.path)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def recipe(language: str, page: str = "serve.md") -> str:
    (found,) = blocks(ROOT / "docs" / page, language)
    return found


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, f"the recipe has {old!r} {text.count(old)} times, expected once"
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path, port: int, backend: int, certificate: Certificate) -> list[str]:
    """Write the recipe into a configuration that needs no rights, and return the command."""
    server = changed(
        recipe("nginx"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/pelee.example.org.pem", str(certificate.path)),
        ("/etc/ssl/pelee.example.org.key", str(certificate.key)),
        ("127.0.0.1:8000", f"127.0.0.1:{backend}"),
    )
    return nginx_with(server, folder)


def nginx_with(server: str, folder: Path) -> list[str]:
    """Write a configuration around a server block, and return the command."""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    return ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")]


def caddy_command(folder: Path, port: int, backend: int, certificate: Certificate) -> list[str]:
    """As `nginx_command`, for Caddy."""
    site = changed(
        recipe("caddy"),
        (
            "pelee.example.org {",
            f"https://pelee.example.org:{port} {{\n    bind 127.0.0.1\n    tls {certificate.path} {certificate.key}",
        ),
        ("127.0.0.1:8000", f"127.0.0.1:{backend}"),
    )
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https off\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS: dict[str, Callable[[Path, int, int, Certificate], list[str]]] = {
    "nginx": nginx_command,
    "caddy": caddy_command,
}


@contextlib.contextmanager
def proxied(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends."""
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            until = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()
                    pytest.fail(f"the proxy did not start: {process.communicate()[0]!r}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=list(COMMANDS))
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Proxy]:
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    folder, port = tmp_path_factory.mktemp(name), free_port()
    with running({"fake": FakeNetwork().source()}, log_level="info", **SETTINGS) as server:
        command = COMMANDS[name](folder, port, server.port, certificate)
        transport = httpx.HTTPTransport(verify=False, local_address=CLIENT)
        base = f"https://127.0.0.1:{port}"
        headers = {"host": f"{DOMAIN}:{port}"}
        with (
            proxied(command, folder, port),
            httpx.Client(transport=transport, base_url=base, headers=headers, timeout=60) as client,
        ):
            yield Proxy(name, port, server, client)


def logged_client(caplog: pytest.LogCaptureFixture) -> str:
    """Client address of the one request in the log, which is written after its response."""
    wait_until(lambda: any(record.msg == "request" for record in caplog.records))
    (line,) = (json.loads(JsonFormatter().format(record)) for record in caplog.records if record.msg == "request")
    return str(line["client"])


def ask(proxy: Proxy, method: str, path: str, content: bytes = b"") -> httpx.Response:
    return proxy.client.request(method, path, content=content, extensions={"sni_hostname": DOMAIN})


def test_the_page_and_its_files_are_below_the_path(proxy: Proxy) -> None:
    page = ask(proxy, "GET", "/pelee/")
    assert page.status_code == 200 and 'src="static/app.js"' in page.text
    assert ask(proxy, "GET", "/pelee/static/app.js").status_code == 200
    redirect = ask(proxy, "GET", "/pelee")
    assert redirect.is_redirect and redirect.headers["location"].endswith("/pelee/")


def test_an_image_is_sent_and_the_log_has_the_clients_address(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pelee.serve"):
        response = ask(proxy, "POST", "/pelee/detect", encoded())
        assert response.status_code == 200 and response.json()["detections"]
        assert logged_client(caplog) == CLIENT


def test_a_slash_at_the_end_is_no_redirect(proxy: Proxy) -> None:
    assert ask(proxy, "POST", "/pelee/detect/", encoded()).status_code == 200


def test_a_body_over_the_limit_is_refused_by_the_service(proxy: Proxy) -> None:
    response = ask(proxy, "POST", "/pelee/detect", bytes(10_100_000))
    assert response.status_code == 413 and response.json()["code"] == "body_too_large"


def test_frames_go_through_the_websocket(proxy: Proxy) -> None:
    with proxy.open_websocket(origin=f"https://{DOMAIN}:{proxy.port}") as websocket:
        websocket.send(encoded())
        assert json.loads(websocket.recv(60))["type"] == "detections"


def test_the_page_of_another_site_is_refused(proxy: Proxy) -> None:
    with pytest.raises(InvalidStatus) as caught:
        proxy.open_websocket(origin="https://elsewhere.example")
    assert caught.value.response.status_code == 403
    assert json.loads(caught.value.response.body)["code"] == "forbidden"


def test_the_description_names_the_path(proxy: Proxy) -> None:
    assert ask(proxy, "GET", "/pelee/openapi.json").json()["servers"] == [{"url": "/pelee"}]


def test_without_the_setting_forwarded_addresses_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with (
        running({"fake": FakeNetwork().source()}, log_level="info") as server,
        caplog.at_level(logging.INFO, logger="pelee.serve"),
    ):
        server.client.get("/models", headers={"x-forwarded-for": "203.0.113.7"})
        assert logged_client(caplog) == "127.0.0.1"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_the_page_of_a_camera_works_behind_nginx(tmp_path: Path) -> None:
    """Frames are not held back in nginx's buffers, and the button for the next image works."""
    port = free_port()
    with WebView(port=0) as view:
        location = changed(recipe("nginx", "video.md"), ("127.0.0.1:8080", f"127.0.0.1:{view.port}"))
        command = nginx_with(f"server {{ listen 127.0.0.1:{port}; server_name cam.example;\n{location}}}\n", tmp_path)
        base, headers = f"http://127.0.0.1:{port}/camera", {"host": "cam.example"}
        with proxied(command, tmp_path, port), httpx.Client(headers=headers, timeout=60) as client:
            view.show(np.zeros((48, 64, 3), np.uint8), wait=False)
            origin = {"origin": "http://cam.example"}  # Chrome sends one with module scripts and POST
            for path in ("/", "/static/view.js", "/static/view.css", "/state.json"):
                assert client.get(base + path, headers=origin if "static" in path else {}).status_code == 200
            assert client.post(f"{base}/next?picture=1", headers=origin | {OWN_REQUEST: "1"}).status_code == 200
            with client.stream("GET", f"{base}/stream.mjpg") as response:
                assert b"image/jpeg" in next(part for part in response.iter_raw() if b"image/jpeg" in part)
