"""Video writer: count, size and rate of the frames; errors leave whole files."""

import errno
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from data.errors import ImageError
from detection.video import video_writer as sinks
from detection.video.video_file import VideoFile
from detection.video.video_writer import video_writer
from tests.support.rectangle_session import DARK, RED, clip, picture
from tests.support.video_facts import facts


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
    """Players guess BT.601 for small and BT.709 for large frames where the file does not say which."""
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


@pytest.mark.slow
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


def test_a_recording_can_be_played_while_it_grows_and_is_a_plain_file_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "camera.mp4"
    with video_writer(path, (64, 48), Fraction(25), Fraction(1, 1000), crash_safe=True) as writer:
        for index in range(100):
            writer.write(picture(64, 48), Fraction(index, 25))
        with VideoFile(str(path)) as growing:
            assert 50 <= len(list(growing)) <= 100
    with VideoFile(str(path)) as whole:
        assert len(list(whole)) == 100 and whole.frames == 100


@pytest.mark.parametrize("frames", [0, 30])
def test_an_error_keeps_a_recording_unless_it_is_empty(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "camera.mp4"
    with (
        pytest.raises(RuntimeError, match="x"),
        video_writer(path, (64, 48), Fraction(25), crash_safe=True) as writer,
    ):
        for _ in range(frames):
            writer.write(picture(64, 48))
        raise RuntimeError("x")
    assert path.exists() == (frames > 0)
    if frames:
        with VideoFile(str(path)) as video:
            assert len(list(video)) == frames


def test_a_frame_too_wide_for_the_encoder_is_said_with_its_size(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r"wide\.mp4: not written: the H\.264 encoder refuses frames of 17000x16"),
        video_writer(tmp_path / "wide.mp4", (17_000, 16), Fraction(25)) as writer,
    ):
        writer.write(picture(17_000, 16, (0, 0, 8, 8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (131, 90)])
def test_frames_share_one_buffer_and_keep_their_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    """Each frame is what FFmpeg makes of it alone, with odd sides padded by their last column and row."""
    rng = np.random.default_rng(0)
    with video_writer(tmp_path / "a.mp4", size, Fraction(25)) as writer:
        for width, height in (size, size, (40, 30), size):
            image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            alone = av.VideoFrame.from_ndarray(padded, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            np.testing.assert_array_equal(writer._to_yuv(image).to_ndarray(), alone.to_ndarray())
            writer.write(image)
