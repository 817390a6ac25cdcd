"""What live sources are made of: captures of cameras and streams, clocks, figures, the pattern, what is drawn."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.errors import ImageError, SettingsError
from detection.display.overlay import draw_numbers, marked, side_by_side
from detection.video.camera import Camera
from detection.video.live_source import LiveSource
from detection.video.open_source import open_capture
from detection.video.source_names import is_pattern
from detection.video.stream_clock import JUMP, Clock
from detection.video.stream_stats import Rate, StreamStats
from detection.video.synthetic_pattern import Pattern, draw_number, read_number
from tests.support.rectangle_session import RED, picture
from tests.support.tcp_camera import TcpCamera, frame_at

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


def test_a_busy_camera_gives_nothing_to_a_second_one(capfd: pytest.CaptureFixture[str]) -> None:
    with TcpCamera(rate=20, size="160x128", one=True) as camera:
        first = open_capture(camera.address)
        with pytest.raises(ImageError, match=r"the stream (does not open|has no pictures)"):
            open_capture(camera.address)
        first.close()
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
        numbers.append(read_number(shot.picture()))
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
    assert time.monotonic() - begin > 1.3  # 1.5 s of pictures, although all of them were there at once
    live.close()


class FakeCapture:
    """OpenCV's capture of a camera that gives two frames, BGR, and then no more."""

    def __init__(self, *given: object) -> None:
        self.given, self.left, self.released = given, 2, False

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 0.0  # as many cameras answer when asked for their rate

    def set(self, *_: object) -> bool:
        return False

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, picture(64, 48, (0, 0, 64, 48))[..., ::-1].copy()

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_rgb_and_the_time_until_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    camera = Camera("cam3")
    assert camera._capture.given == (3,) and camera.rate is None
    shots = [camera.read(), camera.read()]
    assert all(shot.picture()[20, 20].tolist() == list(RED) for shot in shots)
    assert shots[0].captured <= shots[1].captured <= time.monotonic()
    with pytest.raises(ImageError, match="cam3: the camera gives no pictures"):
        camera.read()
    camera.close()
    assert camera._capture.released


def test_what_waits_on_its_way_counts_for_its_age() -> None:
    """Frames every 40 ms; the third waits 50 ms, the fourth 1 s; then the camera begins anew."""
    clock = Clock()
    ages = [
        now - clock.captured(stamp, now) for stamp, now in [(7.0, 100.0), (7.04, 100.02), (7.08, 100.11), (7.12, 101.1)]
    ]
    assert ages == pytest.approx([0, 0, 0.05, 1.0], abs=1e-3)
    assert clock.captured(7.2 - 2 * JUMP, 101.2) == 101.2 and clock.captured(None, 101.3) == 101.3
    slow = Clock()
    for minute in range(60):  # a clock 50 ppm too slow: ages do not grow
        assert slow.captured(60 * minute * (1 - 5e-5), 60.0 * minute) == pytest.approx(60 * minute, abs=0.004)


def test_bursts_are_played_at_their_own_pace() -> None:
    clock = Clock()
    assert clock.early(5.0, 50.0) == 0
    assert [clock.early(5.0 + step / 25, 50.0) for step in range(4)] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert clock.early(8.0, 55.0) == 0  # late: a new beginning
    assert clock.early(8.5, 55.0) == pytest.approx(0.5)


def test_the_pattern_says_its_number_in_every_size() -> None:
    for text in ("test", "test:64x48", "test:333x77@25"):
        pattern = Pattern(text)
        for number in (0, 1, 77, 2**31 + 5):
            image = pattern.picture(number)
            assert read_number(image) == number and image.dtype == np.uint8
    assert not is_pattern("tests") and not is_pattern("test:10") and not is_pattern("test.mp4")
    with pytest.raises(SettingsError, match="expected 32x32"):
        Pattern("test:10x10")


def test_the_pattern_keeps_its_pace_and_drops_what_was_missed() -> None:
    pattern = Pattern("test:64x48@50")
    begin = time.monotonic()
    first = read_number(pattern.read().picture())
    time.sleep(0.2)
    second = read_number(pattern.read().picture())
    assert second - first >= 9 and (second - 0.5) / 50 <= time.monotonic() - begin + 0.02
    pattern.close()


def test_numbers_survive_a_lossy_way() -> None:
    image = np.full((96, 128, 3), 40, np.uint8)
    draw_number(image, 0b1011_0000_1111)
    noisy = np.clip(image.astype(int) + np.random.default_rng(0).integers(-60, 60, image.shape), 0, 255)
    assert read_number(noisy.astype(np.uint8)) == 0b1011_0000_1111


def test_rates_are_those_of_late_and_in_all() -> None:
    rate = Rate()
    assert rate.recent(0.0) == rate.overall() == 0
    for index in range(101):  # 10 s at 10 a second
        rate.add(50 + index / 10)
    assert rate.overall() == pytest.approx(10) and rate.recent(60.0) == pytest.approx(10, abs=0.6)
    assert rate.recent(61.0) == pytest.approx(5, abs=0.6) and rate.recent(70) == 0


def test_percentiles_of_ages_are_numpys_to_a_millisecond() -> None:
    figures = StreamStats()
    assert figures.age(50) == 0
    ages = np.random.default_rng(1).gamma(3, 0.02, 3000)
    for age in ages:
        figures.shown(float(age))
    for percent in (1, 50, 99, 100):
        assert figures.age(percent) == pytest.approx(
            1000 * np.percentile(ages, percent, method="inverted_cdf"), abs=0.51
        )
    figures.shown(1e9)
    assert figures.age(100) == 20_000


def test_a_mark_darkens_and_never_hides_the_frame() -> None:
    image = picture(320, 240, (20, 20, 100, 100))
    before = image.copy()
    copy = marked(image, "no signal for 3 s, reconnecting (2)")
    assert (image == before).all() and copy.shape == image.shape
    assert tuple(copy[50, 50] > 0) == (True, True, True) and copy[50, 50, 0] > 2 * copy[50, 50, 1]  # still the red box
    band = copy[112:128]
    assert (band == 255).any() and (band[..., 0].astype(int) - band[..., 1]).max() > 100


def test_numbers_stand_at_the_top_left_only() -> None:
    image = picture(320, 240, (20, 100, 100, 200))
    drawn = draw_numbers(image.copy(), "camera 30.0/s  age 45 ms")
    assert (drawn[:20] != image[:20]).any() and (drawn[40:] == image[40:]).all()


def test_several_pictures_side_by_side() -> None:
    wide, tall = picture(320, 160, (0, 0, 320, 160)), picture(100, 200, (0, 0, 100, 200), (20, 20, 230))
    assert side_by_side([wide]) is wide
    grid = side_by_side([wide, tall, None])
    assert grid.shape == (2 * 320, 2 * 640, 3)
    assert tuple(grid[100, 100]) == RED and tuple(grid[100, 640 + 50]) == (20, 20, 230)
    assert (grid[:320, 640 + 200 :] == 96).all() and (grid[320:] == 96).all()
