"""Annotated copies: paths, failures, snapshots."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from detection.inference.stage_timer import StageTimer
from detection.pipeline import annotated_copies
from detection.pipeline.annotated_copies import ImageCopies, VideoCopies, WrittenCopies, unprotected
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource, identities
from detection.pipeline.sinks import SinkError, SourceInfo
from detection.video.video_file import VideoFile
from tests.support.rectangle_session import picture

STDIN = InputSource("-", True, "-", Path("stdin-000000-2.jpg"))
CLIP = InputSource("clip.mp4", True, "clip.mp4", Path("clip.mp4"))
CAMERA = InputSource("test:64x48", True, "test:64x48", Path("test-64x48.mp4"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def frame(item: InputSource, index: int) -> FrameResult:
    return FrameResult(item, index=index, time=Fraction(index, 25), image=picture(64, 48, (8, 8, 40, 40)))


def info(item: InputSource) -> SourceInfo:
    return SourceInfo(item, (64, 48), Fraction(25), Fraction(1, 1000))


def test_images_on_stdin_avoid_the_copies_of_others() -> None:
    written = WrittenCopies()
    sink = ImageCopies(Path("out"), StageTimer(), written, {str(Path("out/stdin-000001.jpg").resolve())})
    for index in range(6):
        sink.emit(frame(STDIN, index))
    names = sorted(path.name for path in Path("out").iterdir())
    assert names[:3] == ["stdin-000000-2.jpg", "stdin-000001-2.jpg", "stdin-000002.jpg"] and len(names) == 6
    assert written.count == 6 and [path.name for path in written.first] == names[:4]


def test_snapshots_avoid_copies_and_inputs() -> None:
    sink = VideoCopies(Path("out"), StageTimer(), 0.04, None, {str(Path("out/clip-000001.jpg").resolve())})
    sink.open(info(CLIP))
    for index in range(3):
        sink.emit(frame(CLIP, index))
    sink.close(CLIP, None)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("clip-000000.jpg", "clip-000001-2.jpg", "clip-000002.jpg", "clip.mp4")
    ]


def test_a_snapshot_that_fails_does_not_end_its_video(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, image: np.ndarray) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(annotated_copies, "write_image", fail)
    sink = VideoCopies(Path("out"), StageTimer(), 0.08)
    sink.open(info(CLIP))
    with pytest.raises(SinkError, match=r"out/clip-000000\.jpg: not written: Permission denied"):
        sink.emit(frame(CLIP, 0))
    for index in range(1, 4):  # reported once
        sink.emit(frame(CLIP, index))
    sink.close(CLIP, None)
    with VideoFile("out/clip.mp4") as video:
        assert len(list(video)) == 4


def test_a_lost_signal_is_a_frame_a_second() -> None:
    sink = VideoCopies(Path("out"), StageTimer())
    sink.open(info(CAMERA))
    sink.emit(frame(CAMERA, 0))
    for tenths in range(1, 30):
        sink.signal_lost(CAMERA, picture(64, 48), Fraction(tenths, 10))
    sink.close(CAMERA, None)
    with VideoFile("out/test-64x48.mp4") as video:
        assert [round(float(one.time), 1) for one in video] == [0, 0.1, 1.1, 2.1]


def test_a_full_disk_is_no_failure_of_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, image: np.ndarray) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(annotated_copies, "write_image", fail)
    with pytest.raises(OSError, match="No space left"):
        ImageCopies(Path("out"), StageTimer()).emit(frame(STDIN, 0))


def test_a_link_to_a_file_elsewhere_is_neither_followed_nor_replaced() -> None:
    Path("out").mkdir()
    Path("mine").write_bytes(b"mine")
    for name in ("stdin-000001.jpg", "clip.mp4", "other-000000.jpg"):
        Path("out", name).symlink_to("../mine")
    with pytest.raises(SinkError, match=r"stdin-000001\.jpg: not written: it is a link to .*mine"):
        ImageCopies(Path("out"), StageTimer()).emit(frame(STDIN, 1))
    sink = VideoCopies(Path("out"), StageTimer(), snapshot_every=1.0)
    with pytest.raises(SinkError, match="link"):
        sink.open(info(CLIP))
    other = InputSource("other.mp4", True, "other.mp4", Path("other.mp4"))
    sink.open(info(other))
    with pytest.raises(SinkError, match="link"):
        sink.emit(frame(other, 0))
    sink.close(other, None)
    assert Path("mine").read_bytes() == b"mine" and Path("out/clip.mp4").is_symlink()


def test_unprotected_numbers() -> None:
    taken = {str(Path(name).resolve()) for name in ("a.jpg", "a-2.jpg")}
    assert unprotected(Path("a.jpg"), taken) == Path("a-3.jpg") and unprotected(Path("b.jpg"), taken) == Path("b.jpg")


def test_unprotected_regards_other_names_of_a_file() -> None:
    """As on a file system without case: clip-000000.jpg is the input CLIP-000000.JPG there."""
    Path("A.JPG").write_bytes(b"mine")
    Path("a.jpg").hardlink_to("A.JPG")
    assert unprotected(Path("a.jpg"), identities("A.JPG")) == Path("a-2.jpg")
