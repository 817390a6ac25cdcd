"""Opening by name, and the kind of a file by its content."""

import io
from pathlib import Path

import av
import pytest
from PIL import Image

from detection.video.animated_image import AnimatedImage
from detection.video.capture.synthetic_pattern import Pattern
from detection.video.open_source import is_video, is_video_of_folder, open_capture, open_video
from detection.video.video_file import VideoFile
from tests.support.rectangle_session import clip, picture

FILMS = {"mpegts": "libx264", "mpeg": "mpeg2video", "flv": "flv", "asf": "wmv2", "3gp": "h263", "h264": "libx264"}
FRAMES = 8  # FFmpeg does not open a transport stream of ten packets, which three frames from one thread fill


def film(form: str) -> bytes:
    """Return a video of `FRAMES` frames in a container of FFmpeg's."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(FILMS[form], rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(176, 144))
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("form", FILMS)
def test_a_video_is_one_under_any_name(tmp_path: Path, form: str) -> None:
    for name in ("film", "film.bin", "film.ts", "film.wmv"):
        path = tmp_path / name
        path.write_bytes(film(form))
        assert is_video(path)
    with open_video(str(tmp_path / "film")) as source:
        assert isinstance(source, VideoFile) and len(list(source)) == FRAMES


def test_an_image_is_none_under_any_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.mp4", "a.ts", "a"):
        Image.fromarray(picture()).save(tmp_path / name, format="JPEG")
        assert not is_video(tmp_path / name)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert not is_video(tmp_path / "a.png") and not is_video_of_folder(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_animated_image_is_a_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    images = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    images[0].save(path, save_all=True, append_images=images[1:])
    assert is_video(path) and is_video_of_folder(path)
    with open_video(str(path)) as source:
        assert isinstance(source, AnimatedImage) and len(list(source)) == 2


def test_texts_are_neither(tmp_path: Path) -> None:
    for name, text in {
        "a.ts": "export const x = 1;\n" * 100,
        "a.txt": "text\n" * 100,
        "a.jpg": "",
        "b": "#EXTM",
    }.items():
        (tmp_path / name).write_text(text)
        assert not is_video(tmp_path / name)
    assert not is_video_of_folder(tmp_path / "a.ts") and not is_video(tmp_path / "gone")


def test_in_a_folder_the_suffix_decides_where_it_is_plain(tmp_path: Path) -> None:
    assert is_video_of_folder(clip(tmp_path / "a.mp4", frames=1))
    (tmp_path / "b.ts").write_bytes(film("mpegts"))
    assert is_video_of_folder(tmp_path / "b.ts") and not is_video_of_folder(tmp_path / "a.jpg")


def test_a_pattern_opens_by_its_name() -> None:
    capture = open_capture("test:64x48@100")
    assert isinstance(capture, Pattern)
    capture.close()
