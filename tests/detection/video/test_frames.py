"""Protocols of sources: what opens has all of their members."""

from pathlib import Path

import numpy as np

from detection.video.frames import Capture, Frame, VideoSource
from detection.video.open_source import open_capture
from detection.video.video_file import VideoFile
from tests.support.rectangle_session import clip


def members(protocol: type) -> set[str]:
    return {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}


def test_a_capture_has_the_members_of_its_protocol() -> None:
    capture = open_capture("test:64x48@100")
    assert members(Capture) == {"rate", "recording", "reception", "read", "close"} <= set(dir(capture))
    before = capture.reception.received
    frame = capture.read()
    capture.close()
    assert frame is not None and before < capture.reception.received == frame.captured
    assert capture.reception.damaged == 0


def test_a_video_file_has_the_members_of_its_protocol(tmp_path: Path) -> None:
    with VideoFile(clip(tmp_path / "clip.mp4", frames=2)) as source:
        assert (
            members(VideoSource)
            == {"name", "size", "rate", "time_base", "frames", "every", "sound"}
            <= set(dir(source))
        )
        frames = list(source)
    assert all(isinstance(frame, Frame) and frame.image.dtype == np.uint8 for frame in frames)
    assert [frame.image.shape for frame in frames] == [(*source.size[::-1], 3)] * 2
