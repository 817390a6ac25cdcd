"""Network streams: opening, made-up times, recordings in parts."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import pytest

from data.errors import ImageError
from detection.video.live_source import LiveSource
from detection.video.open_source import open_capture
from detection.video.synthetic_pattern import read_number
from tests.support.tcp_camera import frame_at

PATIENCE = 30.0  # seconds, on a machine that is busy with other things


@pytest.mark.parametrize(
    "address",
    [
        "cam97",
        "/dev/video97",
        "rtsp://user:secret@127.0.0.1:9/live",
        "http://u:secret@127.0.0.1:9/x",
        "tcp://127.0.0.1:9",
    ],
)
def test_what_does_not_open_is_one_line_without_the_password(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match="does not open") as error:
        open_capture(address)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.fixture
def http(tmp_path: Path) -> Iterator[str]:
    """A server of the test's folder, and of an MJPEG stream of 60 frames at some 50 a second, at /live."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path != "/live":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            for number in range(60):
                jpeg = cv2.imencode(".jpg", frame_at(number, 128, 96)[..., ::-1])[1].tobytes()
                head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(0.02)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_mjpeg_whose_times_are_made_up(http: str) -> None:
    """FFmpeg takes such a stream for one of 25 frames a second, so that frames seem to come ever earlier."""
    capture = open_capture(f"{http}/live")
    numbers = []
    for _ in range(40):
        before = time.monotonic()
        shot = capture.read()
        assert before <= shot.captured <= time.monotonic()
        numbers.append(read_number(shot.to_rgb()))
    capture.close()
    assert numbers == list(range(numbers[0], numbers[0] + 40))


def test_a_recording_in_parts_plays_at_its_own_pace_and_ends(http: str, tmp_path: Path) -> None:
    parts = {"hls_time": "0.5", "hls_list_size": "0"}
    with av.open(str(tmp_path / "list.m3u8"), "w", format="hls", options=parts) as container:
        stream = container.add_stream("libx264", rate=20, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_at(number, 128, 96))))
        container.mux(stream.encode(None))
    live = LiveSource(f"{http}/list.m3u8", retries=3)
    begin = time.monotonic()
    while not live.ended:
        assert live.poll() == [] and time.monotonic() < begin + PATIENCE
        time.sleep(0.002)
    assert live.failed is None and live.figures.captured.count == 30
    assert time.monotonic() - begin > 1.3  # 1.5 s of frames, although all of them were there at once
    live.close()
