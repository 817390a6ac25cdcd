"""A live source: the newest frame only, what is lost comes back, what hangs is left behind."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from data.errors import ImageError
from detection.video.frames import CapturedFrame, Reception
from detection.video.live_source import KEY_WAIT, NOTE, LiveSource
from tests.support.tcp_camera import TcpCamera

PATIENCE = 30.0  # seconds, on a machine that is busy with other things


def wait_for(condition: Callable[[], object], source: LiveSource | None = None) -> list[str]:
    """Poll until something is so; return what the source said meanwhile."""
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, said
        said += source.poll() if source is not None else []
        time.sleep(0.002)
    return said


class Script:
    """Captures by a script, one after the other: each gives its frames, and then ends, fails or hangs."""

    rate: Fraction | None = Fraction(30)

    def __init__(self, *scripts: object, recording: bool = False) -> None:
        self.scripts = list(scripts)
        self.recording = recording
        self.reception = Reception(0.0)
        self.opened = self.closed = 0
        self.go_on = threading.Event()

    def __call__(self, address: str) -> "Script._Capture":
        self.opened += 1
        script = self.scripts.pop(0) if self.scripts else ImageError("absent")
        if isinstance(script, Exception):
            raise script
        return Script._Capture(self, list(script))  # type: ignore[call-overload]

    class _Capture:
        def __init__(self, script: "Script", steps: list) -> None:
            self.script, self.steps = script, steps
            self.rate, self.recording = script.rate, script.recording
            self.reception = script.reception = Reception(time.monotonic())

        def read(self) -> CapturedFrame | None:
            step = self.steps.pop(0) if self.steps else None
            if isinstance(step, Exception):
                raise step
            if step == "hang":
                self.script.go_on.wait(PATIENCE)
                return CapturedFrame(time.monotonic(), lambda: np.full((4, 4, 3), 99, np.uint8))
            if step is None:
                return None
            number = step
            return CapturedFrame(time.monotonic(), lambda: np.full((4, 4, 3), number, np.uint8))

        def close(self) -> None:
            self.script.closed += 1


@pytest.fixture
def source() -> Iterator[Callable[..., LiveSource]]:
    made: list[tuple[LiveSource, Script]] = []

    def make(script: Script, **options: object) -> LiveSource:
        made.append((LiveSource("cam0", open_=script, **({"retries": 5} | options)), script))  # type: ignore[arg-type]
        return made[-1][0]

    yield make
    for one, script in made:
        script.go_on.set()
        one.close()


def test_only_the_newest_frame_is_kept(source) -> None:
    script = Script([*range(50), "hang"])
    live = source(script, stall=PATIENCE)
    wait_for(lambda: live.figures.captured.count == 50, live)
    frame = live.newest()
    assert frame.number == 49 and frame.to_rgb()[0, 0, 0] == 49
    assert live.newest() is None  # not twice
    assert live.rate == 30


def test_what_was_not_looked_at_is_counted_as_dropped(source) -> None:
    script = Script([0, "hang", *range(2, 12), "hang"])
    live = source(script, stall=PATIENCE)
    wait_for(lambda: live.newest(), live)
    assert live.figures.dropped == 0  # those before the first look are none
    script.go_on.set()
    wait_for(lambda: live.figures.captured.count >= 12, live)
    number = live.newest().number
    assert live.figures.dropped == number - 1


def test_with_every_third_those_between_are_not_dropped(source) -> None:
    live = source(Script([0, "hang"]), stall=PATIENCE)
    wait_for(lambda: live.newest(3), live)
    for number, taken, dropped in [(1, None, 0), (2, None, 0), (3, 3, 0), (5, None, 0), (9, 9, 1), (13, 13, 1)]:
        while live._newest.number < number:
            live._take(live._grabber, CapturedFrame(0.0, lambda: np.zeros((1, 1, 3), np.uint8)))
        frame = live.newest(3)
        assert (frame and frame.number, live.figures.dropped) == (taken, dropped)


@pytest.mark.slow
def test_a_loss_is_said_once_and_its_return_too(source) -> None:
    absent = ImageError("cam0: connection refused")
    script = Script([1, 2, 3], absent, absent, [4, "hang"])
    live = source(script, stall=PATIENCE)
    said = wait_for(lambda: live.figures.reconnects == 1, live)
    assert said[0] == "cam0: the stream ended; reconnecting"
    assert said[1].startswith("cam0: the signal is back after ") and len(said) == 2
    assert live.newest().number == 3  # numbers go on
    assert script.opened == 4 and live.mark() is None and not live.ended
    assert live.figures.captured._last - live.figures.captured._first > 0.25  # it did wait between its tries


@pytest.mark.slow
def test_the_mark_says_how_long_and_how_often(source) -> None:
    absent = ImageError("absent")
    live = source(Script([1], *[absent] * 9), retries=3)
    marks: list[str] = []

    def seen() -> bool:
        mark = live.mark()
        if mark is not None and mark not in marks:
            marks.append(mark)
        return live.ended

    wait_for(seen, live)
    assert marks[0] == "no signal for 0 s, reconnecting (1)"
    assert "reconnecting (3)" in marks[-2] and marks[-1].endswith(", given up")
    assert live.failed == "absent; given up after 3 tries"


@pytest.mark.parametrize("retries", [0, 5])
def test_what_is_absent_at_the_start_is_not_waited_for(source, retries: int) -> None:
    script = Script(ImageError("cam0: the camera does not open"))
    live = source(script, retries=retries)
    assert wait_for(lambda: live.ended, live) == []
    assert live.failed == "cam0: the camera does not open" and script.opened == 1


@pytest.mark.slow
def test_what_is_awaited_may_be_absent_at_the_start(source) -> None:
    absent = ImageError("cam0: connection refused")
    live = source(Script(absent, absent, absent, [7, "hang"]), stall=PATIENCE, awaited=True, longest_wait=0.3)
    said = wait_for(lambda: live.newest(), live)
    assert said[0] == "cam0: connection refused; reconnecting" and not live.ended
    said += wait_for(lambda: live.figures.reconnects == 1, live)
    assert said[1].startswith("cam0: the signal is back after ") and len(said) == 2


def test_without_retries_the_end_is_the_end(source) -> None:
    live = source(Script([1, 2]), retries=0)
    wait_for(lambda: live.ended, live)
    assert live.failed == "cam0: the stream ended"


def test_a_recordings_end_is_no_loss(source) -> None:
    live = source(Script([1, 2], recording=True))
    assert wait_for(lambda: live.ended, live) == []
    assert live.failed is None


def test_an_address_that_never_answers_is_given_up(source) -> None:
    script = Script()
    gate = threading.Event()

    def hang(address: str) -> object:
        gate.wait(PATIENCE)
        raise ImageError("late")

    live = LiveSource("cam0", retries=3, open_=hang, start=0.2)  # type: ignore[arg-type]
    wait_for(lambda: live.ended, live)
    assert live.failed == "cam0: it does not answer for 0 s" and script.opened == 0
    gate.set()
    live.close()


@pytest.mark.slow
def test_a_read_that_hangs_is_left_behind(source) -> None:
    """The watchdog begins anew, and what the old thread says once it wakes up is not heard."""
    script = Script([1, "hang", 77, 77, 77], [2, 3, "hang"])
    live = source(script, stall=0.3)
    said = wait_for(lambda: live.figures.reconnects == 1, live)
    assert said[0] == "cam0: nothing came for 0 s; reconnecting"
    wait_for(lambda: live.figures.captured.count >= 3)
    script.go_on.set()
    wait_for(lambda: script.closed >= 1)
    assert live.newest().to_rgb()[0, 0, 0] != 77


def test_a_slow_camera_is_not_taken_for_dead(source) -> None:
    """Its pauses are as long as usual, although longer than what counts as a stall."""
    live = source(Script([1, "hang"]), stall=0.05)
    live._gap = 100.0
    live._grabber.touched -= 300
    wait_for(lambda: live.figures.captured.count, live)
    time.sleep(0.2)
    assert live.poll() == [] and live.mark() is None


@pytest.mark.parametrize("frames", [[], [1]])
def test_a_stream_that_waits_for_its_next_key_frame_is_not_taken_for_dead(source, frames: list[int]) -> None:
    script = Script([*frames, "hang"])
    live = source(script, stall=1.0, start=1.0)
    wait_for(lambda: live.figures.captured.count == len(frames) and script.opened, live)
    live._grabber.touched -= 20
    script.reception.received = time.monotonic() + PATIENCE  # data, but no whole frame
    assert live.poll() == [] and not live.ended and live.mark() is None
    live._grabber.touched -= KEY_WAIT
    said = live.poll()
    assert live.failed == "cam0: no whole frame came for 30 s" if not frames else said[0].startswith("cam0: no whole")


def test_damaged_frames_are_counted_and_said_now_and_then(source) -> None:
    script = Script([1, "hang"], [2, "hang"])
    live = source(script, stall=PATIENCE)
    wait_for(lambda: live.figures.captured.count, live)
    script.reception.damaged = 3
    assert live.poll() == ["cam0: damaged on the way: 3 frames left out until the next key frame"]
    script.reception.damaged = 5
    assert live.poll() == [] and live.figures.damaged == 5
    live._damage_told_at -= NOTE
    assert live.poll() == ["cam0: damaged on the way: 5 frames left out until the next key frame"]
    assert "damaged 5" in live.figures.line()


def test_tries_wait_longer_and_longer_but_not_forever(source, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(random, "uniform", lambda low, high: waits.append(1) or high)
    now = 100.0
    live = source(Script([1], *[ImageError("absent")] * 9), retries=6)
    wait_for(lambda: live._lost_at is not None, live)
    planned = []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    while not live.ended:
        now = live._retry_at
        live.poll()
        live._grabber.done.wait(PATIENCE)
        live.poll()
        planned.append(live._retry_at - now)
    assert planned[:-1] == pytest.approx([0.5, 1, 2, 2, 2])


@pytest.mark.slow
def test_the_tcp_camera_lives_dies_and_comes_back() -> None:
    with TcpCamera(rate=20, size="160x128") as camera:
        live = LiveSource(camera.address, retries=50)
        try:
            wait_for(lambda: live.figures.captured.count > 5, live)
            image = live.newest().to_rgb()
            assert image.shape == (128, 160, 3) and image.dtype == np.uint8
            assert 0 <= camera.age(image) < PATIENCE
            number = live._newest.number
            camera.kill()
            said = wait_for(lambda: live.mark() is not None, live)
            assert said == [f"{camera.address}: the stream ended; reconnecting"]
            camera.start()
            wait_for(lambda: live.figures.reconnects == 1 and live.figures.captured.count > number + 5, live)
        finally:
            live.close()


@pytest.mark.slow
def test_the_frozen_tcp_camera_is_left_and_found_again() -> None:
    with TcpCamera(rate=20, size="160x128") as camera:
        live = LiveSource(camera.address, retries=50, stall=0.5)
        try:
            wait_for(lambda: live.figures.captured.count > 5, live)
            camera.freeze()
            said = wait_for(lambda: live.mark() is not None, live)
            assert any("nothing came for" in line or "the stream ended" in line for line in said)
            camera.thaw()
            wait_for(lambda: live.figures.reconnects >= 1, live)
        finally:
            live.close()
