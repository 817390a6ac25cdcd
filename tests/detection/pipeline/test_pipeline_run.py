"""Run of a pipeline: options and trackers, counts, the order of the sinks."""

from fractions import Fraction
from pathlib import Path

import pytest

from data.errors import ImageError
from detection.inference.options import DetectionOptions
from detection.pipeline.frame_result import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.pipeline_run import PipelineRun
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.run_progress import ProgressBars
from detection.pipeline.sinks import Sink, SinkError, SourceInfo
from detection.tracking.counting import Counting
from tests.support.rectangle_session import make_detector, picture

ITEM = InputSource("a.jpg", False, "a.jpg", Path("a.jpg"))


class Recorder(Sink):
    def __init__(self, name: str, log: list[str], needs_images: bool = False) -> None:
        self.name, self.log, self.needs_images = name, log, needs_images

    def open(self, info: SourceInfo) -> None:
        self.log.append(f"open {self.name}")

    def emit(self, result: FrameResult) -> None:
        self.log.append(f"emit {self.name}")

    def close(self, source: InputSource, error: BaseException | None) -> None:
        self.log.append(f"close {self.name} {error!r}")


def make(*sinks: Sink, counting: Counting | None = None) -> PipelineRun:
    config = RunConfig(make_detector(), counting=counting)
    return PipelineRun(config, RunState(DetectionOptions(confidence=0.4)), sinks, ProgressBars(shown=False))


def analyzed() -> FrameResult:
    result = FrameResult(ITEM, image=picture(), width=256, height=128, analyzed=True)
    (result.prediction,) = make_detector().predict_batch([picture()], 0.3)
    return result


def test_sinks_are_opened_in_order_and_closed_in_reverse_with_the_error() -> None:
    log: list[str] = []
    run = make(Recorder("a", log), Recorder("b", log))
    with pytest.raises(RuntimeError), run.opened(SourceInfo(ITEM)):
        run.emit(analyzed())
        raise RuntimeError("end")
    assert log == [
        *("open a", "open b", "emit a", "emit b"),
        *("close b RuntimeError('end')", "close a RuntimeError('end')"),
    ]


def test_a_frame_that_is_not_analyzed_is_emitted_only_for_images() -> None:
    log: list[str] = []
    make(Recorder("a", log)).emit(FrameResult(ITEM))
    make(Recorder("b", log, needs_images=True)).emit(FrameResult(ITEM))
    assert log == ["emit b"]


def test_tracking_keeps_weaker_boxes() -> None:
    assert make().options.confidence == 0.4 and make().tracker("a", Fraction(25), (64, 48)) is None
    assert make(counting=Counting()).options.confidence == 0.2


def test_a_line_outside_the_frame_is_an_error_of_that_source() -> None:
    pytest.importorskip("trackers", reason="trackers is not here; it is in the extra track")
    run = make(counting=Counting.parse(["0,0,100,100"], []))
    assert run.tracker("large", Fraction(25), (128, 128)) is not None
    with pytest.raises(ImageError, match=r"small: .* reaches to 100,100, and the frame is 64x48"):
        run.tracker("small", Fraction(25), (64, 48))


@pytest.mark.parametrize("method", ["open", "emit", "close", "signal_lost"])
def test_a_failed_output_is_reported_and_the_other_sinks_go_on(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise SinkError("a.jpg: not written")

    log: list[str] = []
    failing = Recorder("failing", log, needs_images=True)
    setattr(failing, method, fail)
    run = make(failing, Recorder("other", log))
    with run.opened(SourceInfo(ITEM)):
        assert run.emit(analyzed())
        run.emit_signal_loss(ITEM, picture(), Fraction(1))
    assert [line for line in log if "other" in line] == ["open other", "emit other", "close other None"]
    assert run.state.failed == 1 and capsys.readouterr().err == "error: a.jpg: not written\n"


def test_counts_are_by_class_of_analyzed_frames() -> None:
    summary, run = Summary(ITEM), make()
    run.count(summary, analyzed())
    run.count(summary, FrameResult(ITEM))
    assert summary.frames == 1 and summary.counts == {"red thing": 1}


def test_a_problem_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    run = make()
    run.problem("b.jpg: no such file")
    assert run.state.failed == 1 and capsys.readouterr().err == "error: b.jpg: no such file\n"
