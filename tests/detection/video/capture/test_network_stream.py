"""Network streams: opening, made-up times, recordings in parts, RTSP with every codec and with losses."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache, partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from data.errors import ImageError
from detection.video.capture import access_units, network_stream
from detection.video.capture.synthetic_pattern import read_number
from detection.video.live_source import LiveSource
from detection.video.open_source import open_capture
from detection.video.source_names import is_live
from tests.detection.video.capture.test_frame_numbers import units as h264_units
from tests.support.rtsp_server import RtspServer, missing_gstreamer
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
    """A server of the test's folder, and of an MJPEG stream of 60 frames at some 50 a second, at /live.

    At /jpg its parts are of the type image/jpg, and at /bare there is no boundary before the first part.
    """

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path not in ("/live", "/jpg", "/bare"):
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            for number in range(60):
                jpeg = cv2.imencode(".jpg", frame_at(number, 128, 96)[..., ::-1])[1].tobytes()
                kind = "image/jpg" if self.path == "/jpg" else "image/jpeg"
                head = f"--part\r\nContent-Type: {kind}\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                if self.path == "/bare" and number == 0:
                    head = ""
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(0.02)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
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


def test_mjpeg_in_such_parts_opens_at_its_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would read on for a second of frames at an assumed 25 a second: a camera of 2 a second took 13 s."""
    monkeypatch.setattr(network_stream, "OPEN_TIMEOUT", 60.0)
    opened, waited = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            for number in range(2):  # a frame ends where the next one begins
                jpeg = cv2.imencode(".jpg", frame_at(number, 128, 96)[..., ::-1])[1].tobytes()
                self.wfile.write(b"--part\r\nContent-Type: image/jpg\r\n\r\n" + jpeg + b"\r\n")
            self.wfile.flush()
            if not opened.wait(20):
                waited.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        capture = open_capture(f"http://127.0.0.1:{server.server_port}/")
        assert read_number(capture.read().to_rgb()) == 0
        opened.set()
        capture.close()
        server.shutdown()
    assert not waited.is_set()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["jpg", "bare"])
def test_mjpeg_in_parts_that_ffmpeg_does_not_expect(http: str, path: str) -> None:
    capture = open_capture(f"{http}/{path}")
    numbers = [read_number(capture.read().to_rgb()) for _ in range(30)]
    capture.close()
    assert not capture.recording and numbers == list(range(numbers[0], numbers[0] + 30))


def test_what_is_no_stream_still_does_not_open(http: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>" + "login " * 9999)
    with pytest.raises(ImageError, match="does not open"):
        open_capture(f"{http}/page.html")


@pytest.mark.parametrize("name", ["film.ts", "film.mpg", "film"])
def test_a_recording_without_a_telling_suffix_is_none_that_goes_on_for_ever(
    http: str, tmp_path: Path, name: str
) -> None:
    codec = "mpeg2video" if name == "film.mpg" else "libx264"
    with av.open(str(tmp_path / name), "w", format="mpeg" if name == "film.mpg" else "mpegts") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(frame_at(number, 128, 96))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    address = f"{http}/{name}"
    assert is_live(address) == (name == "film")
    capture = open_capture(address)
    assert capture.recording
    capture.close()


@pytest.mark.slow
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


# RTSP, against GStreamer's server

RATE, FRAMES = 50, 60
ATTEMPTS = 8  # to connect
X264 = {"preset": "ultrafast", "tune": "zerolatency", "g": "25", "sc_threshold": "0"}
FILMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "1-slice": ("h264", "libx264", {**X264, "x264-params": "sliced-threads=0:slices=1"}),
    "2-slices": ("h264", "libx264", {**X264, "x264-params": "sliced-threads=0:slices=2"}),
    "4-slices": ("h264", "libx264", {**X264, "x264-params": "sliced-threads=0:slices=4"}),
    "b-frames": ("h264", "libx264", {"preset": "fast", "g": "25", "bf": "2"}),
    "h265": ("h265", "libx265", {"preset": "ultrafast", "x265-params": "keyint=25:bframes=0:log-level=none"}),
    "mjpeg": ("jpeg", "mjpeg", {"huffman": "default"}),  # RTP has no other tables; one thread would make its own
    "mpeg4": ("mpeg4", "mpeg4", {"g": "25"}),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str, list[np.ndarray]]]:
    """Make a film of FILMS; return its path, its codec, and the frames that a plain decoding of the file gives."""
    if missing_gstreamer():
        pytest.skip(missing_gstreamer())
    folder = tmp_path_factory.mktemp("films")

    @lru_cache
    def make(name: str) -> tuple[Path, str, list[np.ndarray]]:
        codec, encoder, options = FILMS[name]
        path = folder / f"{name}.mkv"
        rng = np.random.default_rng(0)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=RATE, options=options)
            stream.width, stream.height = 320, 240
            stream.pix_fmt = "yuvj420p" if codec == "jpeg" else "yuv420p"
            for number in range(FRAMES):
                image = frame_at(number, 320, 240)
                image[:32] = rng.integers(0, 255, (32, 320, 3), np.uint8)  # frames of several packets
                frame = av.VideoFrame.from_ndarray(image)
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with av.open(str(path)) as container:
            return path, codec, [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    return make


def received(address: str) -> tuple[list[np.ndarray], int]:
    """Return the frames of a stream until its end, and the number of damaged ones."""
    capture = open_capture(address)
    try:
        frames = []
        while (frame := capture.read()) is not None:
            frames.append(frame.to_rgb())
        return frames, capture.reception.damaged
    finally:
        capture.close()


def assert_whole(frames: list[np.ndarray], reference: list[np.ndarray]) -> list[int]:
    """Check that each frame is bit for bit that of its number, in order; return the numbers."""
    numbers = [read_number(image) for image in frames]
    assert numbers == sorted(set(numbers))
    assert [n for n, image in zip(numbers, frames, strict=True) if not np.array_equal(image, reference[n])] == []
    return numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, []) for name in FILMS), ("2-slices", ["--audio"]), ("1-slice", ["--mtu", "400"])],
)
def test_rtsp_gives_the_frames_of_the_film(
    film, name: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the test's server may answer too late; often it sends nothing where sound is left out."""
    monkeypatch.setattr(network_stream, "READ_TIMEOUT", 5.0)
    path, codec, reference = film(name)
    for _ in range(ATTEMPTS):
        try:
            with RtspServer(path, codec, *options) as server:
                frames, damaged = received(server.address())
        except ImageError:
            continue
        numbers = assert_whole(frames, reference)  # in every attempt: a frame is whole, or it is left out
        assert damaged == 0 and numbers == list(range(FRAMES))
        return
    raise AssertionError(f"no connection in {ATTEMPTS} attempts")


@pytest.mark.slow
def test_rtsp_over_udp_only(film) -> None:
    """A busy machine may lose packets, and the goodbye may overtake the last frames; all others are whole."""
    path, codec, reference = film("2-slices")
    with RtspServer(path, codec, "--udp") as server:
        frames, _ = received(server.address())
    assert len(assert_whole(frames, reference)) > FRAMES // 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1-slice", "4-slices", "b-frames", "h265", "mjpeg", "mpeg4"])
def test_rtsp_that_loses_packets_gives_whole_frames_only(film, name: str) -> None:
    """Packets 60 and 61 are of a frame in the first group of pictures; the second group is whole."""
    path, codec, reference = film(name)
    with RtspServer(path, codec, "--lose", "60", "61") as server:
        frames, damaged = received(server.address())
    numbers = assert_whole(frames, reference)
    assert 0 < len(numbers) < FRAMES
    assert numbers[-1] == FRAMES - 1
    assert damaged > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", ["first", "middle", "last"])
@pytest.mark.parametrize("name", ["1-slice", "4-slices", "h265", "mpeg4", "mjpeg"])
def test_rtsp_that_loses_a_part_of_a_frame_goes_on_with_the_next_key_frame(film, name: str, part: str) -> None:
    path, codec, reference = film(name)
    with RtspServer(path, codec, "--lose-part", "4", part) as server:
        frames, damaged = received(server.address())
    numbers = assert_whole(frames, reference)
    missing = set(range(FRAMES)) - set(numbers)
    if name == "mjpeg":
        assert missing == {4}
    else:  # frame 3 may be left out, too: its end is not known
        assert set(range(4, 25)) <= missing <= set(range(3, 25))
    assert damaged > 0


@pytest.mark.slow
def test_rtsp_over_udp_that_loses_a_part_of_a_frame(film) -> None:
    path, codec, reference = film("h265")
    with RtspServer(path, codec, "--udp", "--lose-part", "4", "middle") as server:
        frames, damaged = received(server.address())
    numbers = assert_whole(frames, reference)
    assert set(range(4, 25)).isdisjoint(numbers) and numbers[-1] > 25
    assert damaged > 0


@pytest.mark.slow
def test_rtsp_that_loses_a_part_of_a_key_frame(film) -> None:
    path, codec, reference = film("h265")
    with RtspServer(path, codec, "--lose-part", "25", "middle") as server:
        numbers = assert_whole(received(server.address())[0], reference)
    assert numbers == [*range(25), *range(50, FRAMES)]


@pytest.mark.slow
@pytest.mark.parametrize("method", [[], ["--digest"]])
@pytest.mark.parametrize("login", ["admin:p@ss/w?rd#1", "ad min:a b%&=+;,ä"])
def test_rtsp_passwords_of_any_characters(film, login: str, method: list[str]) -> None:
    path, codec, _ = film("1-slice")
    with RtspServer(path, codec, "--user", login, *method) as server:
        capture = open_capture(server.address(f"{login}@"))
        assert capture.read() is not None
        capture.close()
        with pytest.raises(ImageError, match="401 Unauthorized") as error:
            open_capture(server.address("admin:wr@ng/1@"))
    assert "wr@ng" not in str(error.value)


@pytest.mark.slow
def test_an_rtsp_recording_that_ends_is_no_loss(film) -> None:
    path, codec, _ = film("2-slices")
    with RtspServer(path, codec) as server:
        live = LiveSource(server.address(), retries=3)
        deadline = time.monotonic() + PATIENCE
        while not live.ended:
            assert live.poll() == [] and time.monotonic() < deadline
            time.sleep(0.002)
        live.close()
    assert live.failed is None and live.figures.captured.count == FRAMES


class PacketSource:
    """An RTSP container of FFmpeg's, which passes on one NAL unit at a time."""

    duration = None

    def __init__(self, units: list[bytes], parameters: bytes | None = None) -> None:
        self.units = units
        self.format = SimpleNamespace(name="rtsp")
        context = av.CodecContext.create("h264", "r")
        context.extradata = parameters
        rate = Fraction(25)
        stream = SimpleNamespace(
            codec_context=context, average_rate=rate, guessed_rate=rate, time_base=1 / rate, sample_aspect_ratio=None
        )
        self.streams = SimpleNamespace(video=[stream])

    def demux(self, stream: object) -> Iterator[av.Packet]:
        for number, unit in enumerate(self.units):
            packet = av.Packet(unit)
            packet.pts = number
            yield packet
        yield av.Packet(b"")

    def close(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_a_camera_whose_messages_are_wrong_is_shown(monkeypatch: pytest.MonkeyPatch, strict: bool) -> None:
    """And one that a strict decoder refuses altogether is decoded by another, after a while."""
    units = [b"\x00\x00\x00\x01\x06\x05\x60\x01\x80" + unit for unit in h264_units(150, tune="zerolatency")]
    monkeypatch.setattr(network_stream, "_opened", lambda address, options: (PacketSource(units), None))
    if not strict:  # with its messages, as if they were what is wrong with it
        monkeypatch.setattr(access_units, "without_messages", lambda unit, codec: unit)
    capture = open_capture("rtsp://camera/1")
    count = 0
    while capture.read() is not None:
        count += 1
    assert count == 150 if strict else 20 < count < 60
    assert capture.reception.damaged == 0


def test_packets_are_passed_on_before_they_are_decoded(tmp_path: Path) -> None:
    film = Path("data/samples/bikes.mp4").absolute()
    seen: list[tuple[int, bool]] = []
    capture = open_capture(f"file://{film}", lambda packet, stream: seen.append((packet.size, packet.is_keyframe)))
    assert capture.recording
    assert capture.read() is not None and seen and seen[0][1]
    capture.close()
    with av.open(str(film)) as container:
        sizes = [packet.size for packet in container.demux(video=0)]
    assert [size for size, _ in seen] == sizes[: len(seen)]


@pytest.mark.slow
def test_a_damaged_frame_leaves_nothing_in_the_next_key_frame(film, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error within frame 24, a flushed decoder decoded frame 25, a whole key frame, wrongly."""
    path, _, reference = film("1-slice")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        to_annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        units = [bytes(unit) for packet in packets for unit in to_annex_b.filter(packet)]
    middle = len(units[24]) // 2
    units[24] = units[24][: middle - 600] + units[24][middle + 600 :]
    parameters = units[0][: units[0].rfind(b"\x00\x00\x01")]
    monkeypatch.setattr(network_stream, "_opened", lambda address, options: (PacketSource(units, parameters), None))
    monkeypatch.setattr(network_stream, "BEHIND", PATIENCE)
    assert assert_whole(received("rtsp://camera/1")[0], reference) == [*range(24), *range(25, FRAMES)]
