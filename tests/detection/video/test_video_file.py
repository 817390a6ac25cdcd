import io
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from data.errors import ImageError, SettingsError
from detection.display import window
from detection.video.frames import Frame
from detection.video.video_file import VideoFile
from detection.video.video_writer import video_writer
from tests.support.rectangle_session import RED, clip, picture


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


def test_a_cut_off_file_that_states_its_duration_only(tmp_path: Path) -> None:
    path, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    with av.open(str(path), "w", options={"cluster_time_limit": "200"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(50):
            image = picture(128, 96, (number, 0, number + 40, 40))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoFile(path) as source:
        assert len(list(source)) == 50
    frames: list[Frame] = []
    with VideoFile(cut) as source, pytest.raises(ImageError) as error:
        frames.extend(source)
    assert 0 < len(frames) < 40
    assert str(error.value) == (
        f"{cut}: only {len(frames)} frames could be read, up to {float(frames[-1].time):.1f} of 5.0 s "
        "(the file is cut off or damaged)"
    )


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


def transport_stream(frames: int = 50, group: int = 25, **options: str) -> bytes:
    """Return an MPEG-TS of noise, whose frames need several packets each."""
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    with av.open(file, "w", format="mpegts") as container:
        x264 = {"preset": "ultrafast", "tune": "zerolatency", "g": str(group), "sc_threshold": "0"} | options
        stream = container.add_stream("libx264", rate=25, options=x264)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (96, 128, 3), np.uint8))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def read_all(path: Path) -> tuple[list[Frame], str]:
    """Return all frames, and the error at the end, if any."""
    frames: list[Frame] = []
    with VideoFile(path) as source:
        try:
            frames.extend(source)
        except ImageError as error:
            return frames, str(error)
    return frames, ""


def test_timestamps_that_restart_go_on(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    path.write_bytes(2 * transport_stream())
    frames, error = read_all(path)
    assert [frame.index for frame in frames] == list(range(100)) and error == ""
    assert [float(frame.time) for frame in frames] == pytest.approx([number / 25 for number in range(100)])


def test_a_lost_packet_costs_its_frame_and_not_the_rest(tmp_path: Path) -> None:
    """188 bytes of 50 frames are missing; what follows them is there, and the loss is said."""
    content = transport_stream()
    middle = len(content) // 2 // 188 * 188
    path = tmp_path / "lost.ts"
    path.write_bytes(content[:middle] + content[middle + 188 :])
    frames, error = read_all(path)
    assert len(frames) == 49 and frames[-1].index == 49 and float(frames[-1].time) == pytest.approx(49 / 25)
    assert error == f"{path}: only 49 of 50 frames could be read (the file is cut off or damaged)"


def test_a_recording_that_begins_between_key_frames_is_no_damage(tmp_path: Path) -> None:
    content = transport_stream()
    path = tmp_path / "tail.ts"
    tables = content[: 3 * 188]  # those of the programs
    path.write_bytes(tables + content[len(content) // 4 // 188 * 188 :])
    frames, error = read_all(path)
    assert len(frames) == 25 and error == ""


def test_the_cover_of_an_album_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    cover = np.zeros((64, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        image = container.add_stream("mjpeg", rate=1)
        image.width = image.height = 64
        image.pix_fmt, image.disposition = "yuvj420p", Disposition.attached_pic
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 128, 96, "yuv420p"
        container.mux(image.encode(av.VideoFrame.from_ndarray(cover)))
        for stream, count in ((film, 5), (image, 0)):
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(128, 96))))
            container.mux(stream.encode(None))
    frames, error = read_all(path)
    assert len(frames) == 5 and error == "" and frames[0].image.shape == (96, 128, 3)


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        image = container.add_stream("mjpeg", rate=1)
        image.width = image.height = 64
        image.pix_fmt, image.disposition = "yuvj420p", Disposition.attached_pic
        container.mux(image.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(image.encode(None))
    with pytest.raises(ImageError, match="holds no video stream"):
        VideoFile(path)


def test_a_name_that_ffmpeg_would_take_for_a_protocol(tmp_path: Path) -> None:
    path = clip(tmp_path / "rtsp:%03d.mp4", frames=3)
    with VideoFile(path) as source:
        assert len(list(source)) == 3


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
