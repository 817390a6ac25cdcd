"""Several cameras at once: a film at its own pace, one that is absent, one that fails while it is open."""

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.errors import ImageError
from data.images.image_io import read_image
from detection.video.frames import Capture, CapturedFrame, Reception
from detection.video.open_source import open_capture
from detection.watch.event import EventFiles
from detection.watch.settings import CameraSettings, WatchSettings
from detection.watch.watcher import Watcher
from tests.support.rectangle_session import DARK, make_detector, picture
from tests.support.watch_scenes import RATE, EventMemory, walk, watch_settings

PATIENCE = 60.0  # seconds, on a machine that is busy with other things


class Screen:
    """Camera that shows an image, until it is told to fail or to end; it is opened again and again."""

    rate: Fraction | None = Fraction(RATE)
    recording = False

    def __init__(self) -> None:
        self.image = picture(colour=DARK)
        self.absent = self.failing = False
        self.opened = 0
        self.reception = Reception(time.monotonic())

    def __call__(self, address: str, on_packet: Callable[..., None] | None = None) -> Capture:
        self.opened += 1
        self.reception = Reception(time.monotonic())
        if self.absent:
            raise ImageError(f"{address}: absent")
        return self

    def read(self) -> CapturedFrame | None:
        time.sleep(1 / RATE)
        if self.failing:
            raise ImageError("the cable is out")
        image = self.image
        self.reception.received = time.monotonic()
        return CapturedFrame(time.monotonic(), lambda: image)

    def close(self) -> None:
        pass


class Run:
    """A watcher in a thread."""

    def __init__(self, settings: WatchSettings, folder: Path, open_: Callable[..., Capture] = open_capture) -> None:
        self.sink, self.notes = EventMemory(), list[str]()
        self.watcher = Watcher(settings, make_detector(), self.sink, folder, self.notes.append, open_)
        self.thread = threading.Thread(target=self.watcher.run)
        self.thread.start()

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (self.sink.calls, self.notes, self.watcher.status())
            time.sleep(0.01)

    def end(self) -> None:
        self.watcher.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive() and self.sink.calls[-1] == ("close", None)
        begun, ended = ({event.id for event in self.sink.events(name)} for name in ("begin", "finish"))
        assert begun == ended and len(self.sink.events("finish")) == len(ended)


def kinds(run: Run, method: str) -> list[str]:
    return [str(event.kind) for event in run.sink.events(method)]


@pytest.mark.slow
def test_a_film_beside_a_camera_that_is_absent(tmp_path: Path) -> None:
    """The film's events have their snapshots and clips, whatever the other one does."""
    settings = watch_settings(str(walk(tmp_path / "walk.mp4", 4.0)))
    cameras = settings.cameras | {"absent": CameraSettings("rtsp://user:secret@127.0.0.1:9/live")}
    run = Run(WatchSettings(cameras, settings.rules, recording=settings.recording), tmp_path / "events")
    run.wait(lambda: {"appeared", "entered", "crossed", "stayed"} <= set(kinds(run, "begin")))
    run.wait(lambda: run.watcher.status()[0]["state"] == "ended")
    (absent,) = [one for one in run.watcher.status() if one["name"] == "absent"]
    assert absent["state"] == "lost" and "Connection refused" in str(absent["problem"])
    assert absent["source"] == "rtsp://127.0.0.1:9/live" and not any("secret" in line for line in run.notes)
    run.end()
    for event in run.sink.events("finish"):
        files = EventFiles.of(tmp_path / "events", event)
        assert event.camera == "yard" and event.end is not None
        assert read_image(files.snapshot).shape == read_image(files.boxed_snapshot).shape == (128, 256, 3)
        with av.open(str(files.clip)) as container:
            assert len(list(container.decode(video=0))) > 2
    x1, y1, x2, y2 = (event := run.sink.events("begin")[0]).boxes[-1].box
    red = read_image(EventFiles.of(tmp_path / "events", event).snapshot)[round((y1 + y2) / 2), round((x1 + x2) / 2)]
    assert red[0] > 150 and red[1] < 100


@pytest.mark.slow
def test_a_camera_is_absent_at_the_start_comes_fails_and_comes_back(tmp_path: Path) -> None:
    screen = Screen()
    screen.absent = True
    run = Run(watch_settings("rtsp://camera/live"), tmp_path, screen)
    run.wait(lambda: screen.opened >= 2)
    assert run.watcher.status()[0]["state"] == "lost"
    screen.absent = False
    run.wait(lambda: run.watcher.status()[0]["state"] == "live")
    screen.image = picture(box=(160, 32, 220, 96))
    run.wait(lambda: {"appeared", "entered"} <= set(kinds(run, "begin")))
    screen.failing = screen.absent = True
    run.wait(lambda: "vanished" in kinds(run, "begin"))  # events end without a signal
    (vanished,) = [event for event in run.sink.events("begin") if event.kind == "vanished"]
    image = read_image(EventFiles.of(tmp_path, vanished).snapshot).astype(int)
    assert np.abs(image[64, 190] - (230, 20, 20)).max() < 60  # the object, as it was last seen
    screen.failing = screen.absent = False
    run.wait(lambda: kinds(run, "begin").count("appeared") == 2)
    assert run.watcher.status()[0]["reconnects"] == 2
    image = run.watcher.image("yard")
    assert image is not None and image.shape == (128, 256, 3) and run.watcher.image("none") is None
    run.end()
    assert any("absent" in line for line in run.notes) and all(line.startswith("yard: ") for line in run.notes)


def test_stopping_before_anything_came(tmp_path: Path) -> None:
    screen = Screen()
    screen.absent = True
    run = Run(watch_settings("rtsp://camera/live"), tmp_path, screen)
    run.wait(lambda: screen.opened)
    run.end()
    assert list(tmp_path.iterdir()) == []
