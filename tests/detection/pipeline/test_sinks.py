"""Sinks: one from outside gets what the pipeline finds."""

from pathlib import Path

import pytest

from detection.inference.options import DetectionOptions
from detection.pipeline.file_pipeline import Pipeline
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource, collect
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.run_progress import ProgressBars
from detection.pipeline.sinks import Sink, SourceInfo
from detection.tracking.counting import Counting, ZoneChange
from tests.support.rectangle_session import clip, make_detector


class Collector(Sink):
    """A sink that keeps results in a list."""

    def __init__(self, needs_images: bool = False) -> None:
        self.needs_images = needs_images
        self.calls: list[str] = []
        self.results: list[FrameResult] = []
        self.fail_at: int | None = None

    def open(self, info: SourceInfo) -> None:
        self.calls.append(f"open {info.source.name} {info.size}")

    def emit(self, result: FrameResult) -> None:
        if result.index == self.fail_at:
            raise RuntimeError("disk gone")
        self.results.append(result)

    def close(self, source: InputSource, error: BaseException | None) -> None:
        self.calls.append(f"close {source.name} {error}")


def run(sink: Collector, counting: Counting | None = None, every: int = 1) -> None:
    state = RunState(DetectionOptions(confidence=0.3))
    config = RunConfig(make_detector(), every=every, counting=counting)
    Pipeline(config, state, [sink], ProgressBars(shown=False)).run(collect(["clip.mp4"], [], None)[0])


@pytest.fixture(autouse=True)
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("clip.mp4"), frames=8)


@pytest.mark.parametrize("needs_images", [False, True])
def test_a_sink_from_outside_gets_every_frame_of_a_clip_in_order(needs_images: bool) -> None:
    sink = Collector(needs_images)
    run(sink)
    assert sink.calls == ["open clip.mp4 (128, 96)", "close clip.mp4 None"]
    assert [result.index for result in sink.results] == list(range(8))
    assert all(result.prediction is not None and len(result.prediction.boxes) for result in sink.results)
    assert all((result.image is not None) == needs_images for result in sink.results)


def test_frames_between_the_analyzed_ones_come_only_where_images_are_needed() -> None:
    without, with_images = Collector(), Collector(True)
    run(without, every=3)
    run(with_images, every=3)
    assert [result.index for result in without.results] == [0, 3, 6]
    assert [result.analyzed for result in with_images.results] == [index % 3 == 0 for index in range(8)]


def test_an_error_of_a_sink_ends_the_run_and_is_told_at_its_close() -> None:
    sink = Collector()
    sink.fail_at = 3
    with pytest.raises(RuntimeError, match="disk gone"):
        run(sink)
    assert sink.calls[-1] == "close clip.mp4 disk gone" and len(sink.results) == 3


def test_zone_changes_are_on_the_result() -> None:
    pytest.importorskip("trackers", reason="trackers is not here; it is in the extra track")
    sink = Collector()
    run(sink, Counting.parse([], ["0,0,1,0,1,1,0,1"]))
    events = [event for result in sink.results for event in result.events]
    assert events and all(isinstance(event, ZoneChange) and event.entered for event in events)
