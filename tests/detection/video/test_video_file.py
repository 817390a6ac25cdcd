import errno
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from data.errors import ImageError, SettingsError
from detection.display import window
from detection.video import video_writer as sinks
from detection.video.source_names import display_name, is_address, is_live
from detection.video.video_file import VideoFile
from detection.video.video_writer import video_writer
from tests.support.rectangle_session import DARK, RED, clip, picture


def facts(path: Path) -> tuple[int, int, int, Fraction | None, str, str | None]:
    """(decoded frames, width, height, rate, codec, pixel format), told by FFmpeg."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return count, context.width, context.height, stream.average_rate, context.name, context.pix_fmt


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10), Fraction(60)])
def test_round_trip_keeps_count_size_and_rate(tmp_path: Path, rate: Fraction) -> None:
    path = clip(tmp_path / "deep" / "clip.mp4", frames=17, rate=rate)
    assert facts(path) == (17, 128, 96, rate, "h264", "yuv420p")
    with VideoFile(path) as source:
        assert (source.size, source.rate, source.frames) == ((128, 96), rate, 17)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(17))
    assert [frame.time for frame in frames] == [index / rate for index in range(17)]
    for frame in frames:
        x = 8 + 4 * frame.index % 64
        assert frame.image.shape == (96, 128, 3) and frame.image.dtype == np.uint8
        assert np.abs(frame.image[40, x + 16].astype(int) - RED).max() < 12
        assert np.abs(frame.image[80, 64].astype(int) - DARK).max() < 12


def test_colours_survive_at_high_definition_too(tmp_path: Path) -> None:
    """Players guess BT.601 for small and BT.709 for large pictures where the file does not say which."""
    with video_writer(tmp_path / "hd.mp4", (1280, 720), Fraction(25)) as writer:
        writer.write(picture(1280, 720, (0, 0, 1280, 720), (20, 200, 60)))
    with VideoFile(tmp_path / "hd.mp4") as source:
        assert np.abs(next(iter(source)).image[300, 600].astype(int) - (20, 200, 60)).max() <= 4
    with av.open(str(tmp_path / "hd.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1


def test_the_index_comes_first_so_that_browsers_start_early(tmp_path: Path) -> None:
    content = clip(tmp_path / "clip.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize(("width", "height"), [(101, 75), (100, 75), (101, 74), (1, 1)])
def test_odd_sizes_grow_by_a_copy_of_the_edge(tmp_path: Path, width: int, height: int) -> None:
    with video_writer(tmp_path / "odd.mp4", (width, height), Fraction(25)) as writer:
        writer.write(np.full((height, width, 3), (200, 60, 60), np.uint8))
    with VideoFile(tmp_path / "odd.mp4") as source:
        image = next(iter(source)).image
    assert image.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(image.astype(int) - (200, 60, 60)).max() <= 6


def test_uneven_times_are_kept_and_those_that_go_back_are_mended(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 10), Fraction(5, 10), Fraction(4, 10), Fraction(9, 10)]
    with video_writer(tmp_path / "uneven.mp4", (64, 48), Fraction(10), Fraction(1, 1000)) as writer:
        for moment in times:
            writer.write(picture(64, 48, (5, 5, 30, 30)), moment)
    with VideoFile(tmp_path / "uneven.mp4") as source:
        found = [frame.time for frame in source]
    assert found == [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(501, 1000), Fraction(9, 10)]


@pytest.mark.parametrize(("rotation", "corner"), [(90, (0, 1)), (-90, (1, 0)), (180, (1, 1))])
def test_a_video_of_a_turned_phone_comes_upright(tmp_path: Path, rotation: int, corner: tuple[int, int]) -> None:
    """The red patch lies top left in the file, and the file says to turn it, counterclockwise."""
    path = tmp_path / "turned.mp4"
    with video_writer(path, (128, 96), Fraction(25)) as writer:
        writer._stream.set_display_rotation(rotation)
        for _ in range(3):
            writer.write(picture(128, 96, (0, 0, 40, 40)))
    with VideoFile(path) as source:
        width, height = source.size
        assert (width, height) == ((96, 128) if rotation % 180 else (128, 96))
        image = next(iter(source)).image
    assert image.shape == (height, width, 3)
    place = image[10 if corner[1] == 0 else -10, 10 if corner[0] == 0 else -10]
    assert np.abs(place.astype(int) - RED).max() < 12
    assert (image[..., 0] > 150).mean() == pytest.approx(1600 / (128 * 96), rel=0.1)


def test_ctrl_c_leaves_a_video_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(KeyboardInterrupt), video_writer(path, (128, 96), Fraction(25)) as writer:
        for _ in range(7):
            writer.write(picture(128, 96))
        raise KeyboardInterrupt
    assert facts(path)[0] == 7
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


def test_ctrl_c_before_the_first_frame_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), video_writer(tmp_path / "clip.mp4", (128, 96), Fraction(25)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImageError, match="no frame"), video_writer(tmp_path / "clip.mp4", (128, 96), Fraction(25)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="bug"), video_writer(path, (128, 96), Fraction(25)) as writer:
        writer.write(picture(128, 96))
        assert path.read_bytes() == b"old"
        raise RuntimeError("bug")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_disk_that_gets_full_ends_the_video_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    left = iter([sinks.ROOM + 1000] * 4)
    monkeypatch.setattr(sinks, "ROOM_LOOKS", 0)
    monkeypatch.setattr(sinks.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(left, 0)))
    with (
        pytest.raises(OSError, match="the disk is full") as error,
        video_writer(path, (128, 96), Fraction(25)) as writer,
    ):
        for _ in range(7):
            writer.write(picture(128, 96))
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(path)
    assert facts(path)[0] == 4
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    """A limit on the size of files fails in the middle of a write, as a full disk does."""
    code = """
import resource, signal, sys
from fractions import Fraction
import numpy as np
from data.command_line import run
from detection.video.video_writer import video_writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def body():
    noise = np.random.default_rng(0)
    with video_writer(sys.argv[1], (320, 240), Fraction(25)) as writer:
        for _ in range(100):
            writer.write(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    return 0
sys.exit(run(body))
"""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [f"error: File too large: {path}"]
    assert path.read_bytes() == b"old" and [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    for name, words in {"text": "is no video", "empty": "is no video", "folder": "no such", "gone": "no such"}.items():
        with pytest.raises(ImageError, match=words) as error:
            VideoFile(tmp_path / f"{name}.mp4")
        assert "\n" not in str(error.value) and name in str(error.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ImageError, match="no video stream"):
        VideoFile(path)


def test_a_video_that_was_cut_off_says_how_far_it_came(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4", frames=60).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: -len(whole) // 4])
    frames = []
    with VideoFile(cut) as source, pytest.raises(ImageError) as error:
        for frame in source:
            frames.append(frame)
    assert 0 < len(frames) < 60
    assert f"only {len(frames)} of 60 frames could be read" in str(error.value)


def test_a_damaged_video_says_how_far_it_came(tmp_path: Path) -> None:
    content = bytearray(clip(tmp_path / "whole.mp4", frames=60).read_bytes())
    start = content.find(b"mdat") + 4
    middle = start + (len(content) - start) * 2 // 3
    content[middle:] = bytes((7 * index) % 256 for index in range(len(content) - middle))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(content))
    count = 0
    with VideoFile(broken) as source, pytest.raises(ImageError) as error:
        for _ in source:
            count += 1
    assert 0 < count < 60 and f"only {count} of 60" in str(error.value)


def test_a_name_that_ffmpeg_would_take_for_a_protocol(tmp_path: Path) -> None:
    path = clip(tmp_path / "rtsp:%03d.mp4", frames=3)
    with VideoFile(path) as source:
        assert len(list(source)) == 3


@pytest.mark.parametrize(
    ("text", "live", "address"),
    [
        ("cam0", True, False),
        ("cam12", True, False),
        ("/dev/video3", True, False),
        ("test", True, False),
        ("test:1280x720@60", True, False),
        ("rtsp://host/x", True, True),
        ("rtsps://h/x", True, True),
        ("rtmp://h/x", True, True),
        ("tcp://h:1", True, True),
        ("udp://@:1234", True, True),
        ("http://host/x.mjpg", True, True),
        ("HTTPS://host/live/index.m3u8?key=a.mp4", True, True),
        ("http://host/clip.MP4?key=1", False, True),
        ("rtsp://host/clip.mp4", True, True),
        *(
            (text, False, False)
            for text in ("cam", "cam0.mp4", "webcam0", "clip.mp4", "/cam0", "rtsp:/x", "-", "tests")
        ),
    ],
)
def test_what_waits_is_told_from_what_does_not(text: str, live: bool, address: bool) -> None:
    assert (is_live(text), is_address(text)) == (live, address)


def test_a_file_is_opened_as_one(tmp_path: Path) -> None:
    with VideoFile(str(clip(tmp_path / "clip.mp4"))) as source:
        assert isinstance(source, VideoFile)


def test_a_recording_at_an_address_is_read_like_a_file(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    clip(tmp_path / "clip.mp4", frames=9)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            address = f"http://user:secret@127.0.0.1:{server.server_port}"
            with VideoFile(f"{address}/clip.mp4?key=secret") as source:
                assert source.name == f"http://127.0.0.1:{server.server_port}/clip.mp4"
                assert [frame.index for frame in source] == list(range(9))
            with pytest.raises(ImageError, match="is no video that can be read") as error:
                VideoFile(f"{address}/gone.mp4?key=secret")
            assert "secret" not in str(error.value)
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://user:secret@host:554/live?key=abc#x", "rtsp://host:554/live"),
        ("rtsp://host/live/1?user=a&password=secret", "rtsp://host/live/1"),
        ("rtsp://user:p@ss/w?rd#@host:8554/live", "rtsp://host:8554/live"),
        ("http://user:secret@host/x?mail=a@b&key=secret", "http://b"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("photos/a@b?c.jpg", "photos/a@b?c.jpg"),
    ],
)
def test_passwords_stay_out_of_names(address: str, name: str) -> None:
    assert display_name(address) == name


def test_without_a_screen_a_window_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SettingsError, match=r"DISPLAY is not set.*--output"):
        window.Window("title")


@pytest.mark.parametrize(
    ("stderr", "words"),
    [("The function is not implemented", r"pelee\[window\]"), ("qt: aborted", "this display")],
)
def test_a_child_process_finds_out_whether_windows_work(
    monkeypatch: pytest.MonkeyPatch, stderr: str, words: str
) -> None:
    monkeypatch.setenv("DISPLAY", ":97")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 134, "", stderr))
    with pytest.raises(SettingsError, match=rf"--output.*{words}|{words}.*--output"):
        window.check_display()
