"""View sink: images, videos and live sources in a view, and its keys."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from detection.inference.options import DetectionOptions
from detection.pipeline import view_sink
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource
from detection.pipeline.run_config import RunState
from detection.pipeline.run_progress import ProgressBars
from detection.pipeline.sinks import SourceInfo
from detection.pipeline.view_sink import ViewSink
from tests.support.rectangle_session import picture

STILL = InputSource("a.jpg", False, "a.jpg", Path("a.jpg"))
VIDEO = InputSource("clip.mp4", True, "clip.mp4", Path("clip.mp4"))
CAMERAS = [InputSource(name, True, name, Path(f"{name}.mp4")) for name in ("cam0", "cam1")]


class ScriptedView:
    """A view that presses one list of keys after each image, and quits after the last."""

    def __init__(self, *keys: list[str]) -> None:
        self.script = list(keys)
        self.shown: list[tuple[np.ndarray, bool]] = []
        self.status = ""

    def show(self, image: np.ndarray, wait: bool) -> bool:
        self.shown.append((image, wait))
        return bool(self.script)

    def set_status(self, text: str) -> None:
        self.status = text

    def keys(self) -> list[str]:
        return self.script.pop(0)


@pytest.fixture
def state() -> RunState:
    return RunState(DetectionOptions(confidence=0.5))


def sink(view: ScriptedView, state: RunState, live: list[InputSource] | None = None) -> ViewSink:
    made = ViewSink(view, state, ProgressBars(shown=False), live=live or [])
    made.open(SourceInfo(STILL))
    return made


def result(item: InputSource, **fields: object) -> FrameResult:
    return FrameResult(item, image=picture(64, 48), **fields)  # type: ignore[arg-type]


def test_an_image_stays_for_threshold_keys_and_goes_on_with_any_other(state: RunState) -> None:
    view = ScriptedView(["+"], ["-", "-"], [])
    sink(view, state).emit(result(STILL))
    assert [wait for _, wait in view.shown] == [True] * 3 and not state.quit
    assert state.options.confidence == 0.45


def test_the_threshold_stays_within_its_range(state: RunState) -> None:
    sink(ScriptedView(["+"] * 30, []), state).emit(result(STILL))
    assert state.options.confidence == 0.99
    sink(ScriptedView(["-"] * 30, []), state).emit(result(STILL))
    assert state.options.confidence == 0.01


def test_the_keys_move_the_threshold_of_every_class(capsys: pytest.CaptureFixture[str]) -> None:
    state = RunState(DetectionOptions(confidence=(0.5, 0.97)))
    sink(ScriptedView(["+"], []), state).emit(result(STILL))
    assert state.options.confidence == (0.55, 0.99)
    assert "thresholds 0.55 to 0.99, by class" in "".join(capsys.readouterr())


def test_an_image_that_cannot_be_saved_does_not_end_the_run(
    state: RunState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    made = ViewSink(ScriptedView(["s"], []), state, ProgressBars(shown=False), tmp_path / "file")
    made.emit(result(STILL))
    assert not state.quit and capsys.readouterr().err.startswith(f"not saved: {tmp_path}/file/pelee-")


def test_closing_the_view_quits_the_run(state: RunState) -> None:
    sink(ScriptedView(), state).emit(result(STILL))
    assert state.quit


def test_a_paused_video_waits_for_space(state: RunState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_sink, "PAUSE", 0.001)
    view = ScriptedView([" "], [], [], [" "], [])
    made = sink(view, state)
    made.emit(result(VIDEO, time=Fraction(0)))
    assert len(view.shown) == 4 and not state.quit and view.script == [[]]


def test_live_sources_are_side_by_side_and_have_their_place_before_their_first_frame(state: RunState) -> None:
    view = ScriptedView(*[[]] * 9)
    made = sink(view, state, CAMERAS)
    made.emit(result(CAMERAS[1], status="25/s", captured=1.0))
    image = view.shown[-1][0]
    assert image.shape == (480, 1280, 3) and (image[:, :640] == 96).all() and (image[:, 640:] != 96).any()
    assert view.status == "cam1: 25/s"


def test_space_freezes_live_sources(state: RunState) -> None:
    view = ScriptedView([" "], [], [" "], [], [])
    made = sink(view, state, CAMERAS[:1])
    for _ in range(4):
        made.emit(result(CAMERAS[0]))
    first, second, third, fourth = (image for image, _ in view.shown)
    assert first is second is third and fourth is not first


def test_idle_shows_a_lost_signal_and_polls_keys(state: RunState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_sink, "REDRAW", 0.0)
    view = ScriptedView([], [])
    made = sink(view, state, CAMERAS[:1])
    made.idle()
    assert view.shown == []  # no frame yet
    made.emit(result(CAMERAS[0]))
    lost = picture(64, 48)
    made.signal_lost(CAMERAS[0], lost, Fraction(1))
    made.idle()
    assert view.shown[-1][0] is lost and not state.quit
    made.idle()
    assert state.quit
