"""The page instead of a window: what it serves, to whom, and that who looks never slows what is shown."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import cv2
import numpy as np
import pytest

from data.errors import SettingsError
from detection.display import latest_frame
from detection.display import mjpeg_server as web
from detection.display.mjpeg_server import STATIC, WebView
from tests.support.interruptible import allow_sigint
from tests.support.paths import ROOT

SECONDS = 20.0  # what a busy machine may need; nothing takes that long


def plain(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3) uint8 RGB: red at that level, the rest 0."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., 0] = level
    return image


def level(jpeg: bytes) -> int:
    """What `plain` was given, to about 2."""
    return round(float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., 2].mean()))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def view() -> Iterator[WebView]:
    with WebView(port=0) as view:
        yield view


def ask(view: WebView, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return the answer's status, headers and body; `_` in a header's name stands for a hyphen."""
    with closing(http.client.HTTPConnection("127.0.0.1", view.port, timeout=SECONDS)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@contextmanager
def watching(view: WebView, viewer: str = "") -> Iterator[Iterator[bytes]]:
    """Open the stream, and yield its JPEGs as they come."""

    def pictures(file: "socket.SocketIO") -> Iterator[bytes]:
        head = b""
        while line := file.readline():
            head += line
            if line == b"\r\n" and (length := re.search(rb"Content-Length: (\d+)", head)):
                yield file.read(int(length[1]))
                head = b""

    with socket.socket() as connection:
        connection.settimeout(SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # what waits here is small, too
        connection.connect(("127.0.0.1", view.port))
        connection.sendall(f"GET /stream.mjpg?viewer={viewer} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        with connection.makefile("rb") as file:
            yield pictures(file)


def state(view: WebView, viewer: str = "") -> dict:
    return json.loads(ask(view, f"/state.json?viewer={viewer}")[2])


# ---- what is served


def test_the_page_and_its_files_name_no_outside_address(view: WebView) -> None:
    status, headers, page = ask(view, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    names = re.findall(r'(?:href|src)="static/([^"]+)"', page.decode())
    assert sorted(names) == sorted(path.name for path in STATIC.iterdir() if path.name != "index.html")
    for name in names:
        status, _, content = ask(view, f"/static/{name}")
        assert status == 200
        assert not re.search(rb"//(?!www\.w3\.org/2000/svg)\w", content), name
    assert not re.search(rb"<script>|style=|onclick", page)


@pytest.mark.parametrize("path", ["/", "/static/view.css", "/snapshot.jpg", "/state.json", "/nothing"])
def test_every_answer_has_the_security_headers(view: WebView, path: str) -> None:
    view.show(plain(9), wait=False)
    _, headers, body = ask(view, path)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert all(value in ("'none'", "'self'") for value in policy.values())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "pelee"
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/", "/static/../web.py", "/static/%2e%2e/web.py", "//[/", "/static//etc/passwd"]
)
def test_nothing_else_is_served(view: WebView, path: str) -> None:
    assert ask(view, path)[0] == 404


def test_the_newest_image_and_how_things_stand(view: WebView) -> None:
    assert ask(view, "/snapshot.jpg")[0] == 503
    assert state(view)["picture"] == 0
    view.set_status("25.0 detections a second <b>")
    for red in (50, 100, 200):
        assert view.show(plain(red), wait=False)
    status, headers, jpeg = ask(view, "/snapshot.jpg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert abs(level(jpeg) - 200) <= 2
    now = state(view)
    assert 0 <= now.pop("seconds") < SECONDS
    assert now == {
        "picture": 3,
        "numbers": "25.0 detections a second <b>",
        "viewers": 0,
        "room": 8,
        "watching": False,
        "waiting": False,
    }


def test_a_stream_shows_each_newer_image(view: WebView) -> None:
    view.show(plain(10), wait=False)
    with watching(view, "me") as pictures:
        for red in (40, 80, 120):
            assert abs(level(next(pictures)) - (red - 40 or 10)) <= 2
            assert state(view, "me")["watching"] and not state(view, "you")["watching"]
            view.show(plain(red), wait=False)


# ---- how much it takes


def test_a_image_is_encoded_once_for_all_and_never_for_nobody(view: WebView, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = latest_frame._encode
    monkeypatch.setattr(latest_frame, "_encode", lambda image: encoded.append(int(image[0, 0, 0])) or encode(image))
    for red in range(10, 60, 10):
        view.show(plain(red), wait=False)
    assert encoded == []
    with watching(view) as first, watching(view) as second, watching(view) as third:
        for red in (100, 150, 200):
            for pictures in (first, second, third):
                next(pictures)
            view.show(plain(red), wait=False)
    assert encoded[:3] == [50, 100, 150]
    assert len(encoded) == len(set(encoded))


@pytest.mark.slow
def test_who_reads_slowly_holds_nobody_up_and_misses_images(view: WebView) -> None:
    """Noise makes large JPEGs: what a viewer does not read soon fills what the system holds for it."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with watching(view, "slow") as slow, watching(view, "fast") as fast:
        until(lambda: state(view)["viewers"] == 2)
        for index in range(60):
            view.show(np.roll(noise, index, 1), wait=False)
            next(fast)
        view.show(plain(200), wait=False)
        count = 0
        for jpeg in slow:
            count += 1
            if len(jpeg) < 10_000:
                break
        assert abs(level(jpeg) - 200) <= 2
    assert count < 20  # some are in the sockets' buffers; a quarter of a megabyte each


@pytest.mark.slow
def test_only_so_many_look_at_once(view: WebView, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (latest_frame, web):
        monkeypatch.setattr(module, "VIEWERS", 2)
    with watching(view):
        with watching(view):
            until(lambda: state(view)["viewers"] == 2)
            status, _, reason = ask(view, "/stream.mjpg")
            assert (status, reason) == (503, b"2 viewers are connected already; try again later\n")

        def left() -> bool:
            view.show(plain(1), wait=False)  # who has left is noticed when something is sent
            return state(view)["viewers"] == 1

        until(left)
        with watching(view) as pictures:
            assert next(pictures)


def test_only_so_many_connect_at_once(view: WebView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 3)
    idle = [socket.create_connection(("127.0.0.1", view.port)) for _ in range(3)]
    try:
        with pytest.raises(OSError):
            until(lambda: not ask(view, "/state.json"))
    finally:
        for connection in idle:
            connection.close()

    def again() -> bool:
        with suppress(OSError, http.client.HTTPException):
            return ask(view, "/state.json")[0] == 200
        return False

    until(again)


# ---- to whom


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:8080", "[::1]:8080", "upstream"])
def test_localhost_answers_under_local_names(view: WebView, host: str) -> None:
    """Any port: a tunnel has another one at its other end."""
    assert ask(view, "/state.json", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io", "", "["])
@pytest.mark.parametrize("path", ["/", "/stream.mjpg", "/snapshot.jpg", "/state.json"])
def test_localhost_does_not_answer_under_a_domain(view: WebView, host: str, path: str) -> None:
    view.show(plain(1), wait=False)
    assert ask(view, path, Host=host)[0] == 403


def test_on_other_addresses_any_name_will_do() -> None:
    with WebView("0.0.0.0", 0) as view:
        assert ask(view, "/state.json", Host="camera.local:8080")[0] == 200


def test_pages_of_other_sites_get_nothing(view: WebView) -> None:
    view.show(plain(1), wait=False)
    for path in ("/stream.mjpg", "/snapshot.jpg", "/state.json"):
        assert ask(view, path, Sec_Fetch_Site="cross-site")[0] == 403
        assert ask(view, path, Origin="http://evil.example")[0] == 403
    assert ask(view, "/", Sec_Fetch_Site="cross-site")[0] == 200  # a link that leads here
    own = f"localhost:{view.port}"
    assert ask(view, "/state.json", Host=own, Origin=f"http://{own}", Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(view, "/next?picture=1", "POST", Origin="http://evil.example")[0] == 403


def test_the_page_works_behind_a_proxy_that_sets_the_host(view: WebView) -> None:
    """nginx sends the address of `proxy_pass` as Host; Chrome sends an Origin with module scripts and POST."""
    view.show(plain(1), wait=False)
    for path in ("/", "/static/view.js", "/static/view.css"):
        assert ask(view, path, Host="127.0.0.1:8080", Origin="http://cam.example")[0] == 200
    own = {"Host": "127.0.0.1:8080", "Origin": "http://cam.example", web.OWN_REQUEST: "1"}
    assert ask(view, "/next?picture=1", "POST", **own)[0] == 200
    assert ask(view, "/next?picture=1", "OPTIONS", **own)[0] == 501  # no permission for pages of other sites
    assert web.OWN_REQUEST in (STATIC / "view.js").read_text()
    with socket.create_connection(("127.0.0.1", view.port), timeout=SECONDS) as connection:
        connection.sendall(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b"X-Accel-Buffering: no" in connection.makefile("rb").read(1000)


# ---- beginning, waiting and ending


def test_images_wait_until_somebody_asks_for_the_next(view: WebView) -> None:
    shown = []
    thread = threading.Thread(target=lambda: shown.extend(view.show(plain(red), wait=True) for red in (1, 2)))
    thread.start()
    until(lambda: state(view)["waiting"])
    for path in ("/next?picture=7", "/next?picture=0", "/next?picture=x", "/next", "/other?picture=1"):
        ask(view, path, "POST")
    assert (state(view)["picture"], shown) == (1, [])
    assert ask(view, "/next?picture=1", "POST")[0] == ask(view, "/next?picture=1", "POST")[0] == 200
    until(lambda: state(view)["picture"] == 2)
    assert state(view)["waiting"]
    ask(view, "/next?picture=2", "POST")
    thread.join(SECONDS)
    assert shown == [True, True]
    assert not state(view)["waiting"]


def test_the_same_image_again_is_no_new_one(view: WebView) -> None:
    image = plain(3)
    for _ in range(5):
        view.show(image, wait=False)
    assert state(view)["picture"] == 1


def test_a_port_that_is_taken_is_told() -> None:
    with (
        WebView(port=0) as view,
        pytest.raises(SettingsError, match="use; choose another address or port") as told,
    ):
        WebView(port=view.port).__enter__()
    assert view.address in str(told.value)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("no such host.invalid", 8080), ("192.0.2.1", 8080)])
def test_addresses_that_cannot_be_are_told(host: str, port: int) -> None:
    with pytest.raises(SettingsError, match="cannot show images at"):
        WebView(host, port).__enter__()


def test_the_end_closes_streams_and_the_port() -> None:
    before = threading.active_count()
    with WebView(port=0) as view:
        view.show(plain(1), wait=False)
        with watching(view) as pictures:
            next(pictures)
            view.__exit__(None, None, None)
            assert next(pictures, None) is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", view.port))
    until(lambda: threading.active_count() <= before)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_at_once_although_somebody_looks(number: signal.Signals, code: int) -> None:
    script = """
import numpy as np
from data.command_line import run
from detection.display.mjpeg_server import WebView
def show():
    with WebView(port=0) as view:
        print(view.port, flush=True)
        view.show(np.zeros((48, 64, 3), np.uint8), wait=True)
raise SystemExit(run(show))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        preexec_fn=allow_sigint,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        view = WebView(port=int(process.stdout.readline()))
        with watching(view) as pictures:
            next(pictures)
            os.kill(process.pid, number)
            assert next(pictures, None) is None
        assert process.wait(SECONDS) == code
        assert b"Traceback" not in process.stderr.read()


# ---- in a browser


@pytest.mark.slow
def test_a_browser_shows_it_and_notices_when_it_goes_and_returns() -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not here; it is in the extra dev")
    from tests.support.browser import CHROMIUM, MISSING, REQUIRED, launch, wait_until

    if CHROMIUM is None and not REQUIRED:
        pytest.skip(MISSING)
    told: list[str] = []
    with api.sync_playwright() as playwright, closing(launch(playwright)) as browser:
        page = browser.new_page()
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda message: told.append(message.text) if "Content Security" in message.text else None)
        state, numbers = page.locator("#state-text"), page.locator("#numbers")
        with WebView(port=0) as view:
            view.set_status("24.8 a second")
            page.goto(view.address)
            wait_until(page, lambda: state.inner_text() == "No image yet")
            index = iter(range(10_000))

            def live() -> bool:
                view.show(plain(next(index) % 256), wait=False)
                wide = page.locator("#picture").evaluate("image => image.naturalWidth")
                return state.inner_text() == "Live" and wide == 64

            wait_until(page, live)
            assert numbers.inner_text() == "24.8 a second"
            page.keyboard.press(" ")
            wait_until(page, lambda: state.inner_text() == "Paused")
            page.keyboard.press(" ")
            wait_until(page, live)
        wait_until(page, lambda: "No connection" in state.inner_text())
        with WebView(port=view.port) as view:
            wait_until(page, live)
            until(lambda: len(view._latest.viewers) == 1)
    assert told == []
