"""Run of a pipeline: configuration, state, sinks, and the tracking and drawing that all sources share."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from data.errors import ImageError, SettingsError
from detection.inference.options import DetectionOptions
from detection.pipeline.frame_result import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.run_progress import Progress
from detection.pipeline.sinks import Sink, SinkError, SourceInfo

if TYPE_CHECKING:
    from detection.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run over all inputs.

    Attributes:
        config: settings.
        state: what changes.
        sinks: take each result, in this order.
        progress: takes progress, notes and problems.
    """

    config: RunConfig
    state: RunState
    sinks: Sequence[Sink]
    progress: Progress

    @property
    def needs_images(self) -> bool:
        """Whether a sink takes the annotated images."""
        return any(sink.needs_images for sink in self.sinks)

    @property
    def options(self) -> DetectionOptions:
        """Options of the network's post-processing; with tracking, boxes of lower scores are kept, too."""
        if self.config.counting is None:
            return self.state.options
        from detection.tracking.tracker import continuation_threshold

        return self.state.options.change_confidence(continuation_threshold)

    def tracker(self, name: str, rate: Fraction, size: tuple[int, int]) -> "Tracker | None":
        """A new tracker for a video of `rate` frames per second and (width, height); None without tracking.

        Raises:
            ImageError: a line or zone is outside the frame.
        """
        if self.config.counting is None:
            return None
        from detection.tracking.tracker import Tracker

        names, counting = self.config.detector.class_names, self.config.counting
        tracker = Tracker(names, rate / self.config.every, counting, confidence=self.state.options.confidence)
        try:
            tracker.shapes(size)
        except SettingsError as error:
            raise ImageError(f"{name}: {error}") from error
        return tracker

    def track(self, result: FrameResult, tracker: "Tracker | None") -> None:
        """Give the detections of a video's next frame their track ids, and the frame its events."""
        if tracker is not None and result.prediction is not None:
            with self.config.detector.timer.stage("track"):
                tracker.confidence = self.state.options.confidence
                size = (result.width, result.height)
                result.tracked = tracker.update(result.prediction, result.time or 0, size)
                result.prediction, result.events = result.tracked.prediction, result.tracked.events

    def draw(self, result: FrameResult, tracker: "Tracker | None" = None) -> None:
        """Draw detections or tracks on the result's image."""
        if result.image is None or result.prediction is None:
            return
        with self.config.detector.timer.stage("draw"):
            if result.tracked is not None and tracker is not None:
                from detection.tracking.drawing import draw_tracks

                result.image = draw_tracks(result.image, result.tracked, tracker)
                return
            from detection.drawing import draw

            boxes, scores, labels = result.prediction
            names = [self.config.detector.class_names[label] for label in labels]
            result.image = draw(result.image, boxes, scores, labels, names)

    def count(self, summary: Summary, result: FrameResult) -> None:
        """Add an analyzed frame to its source's summary."""
        if not result.analyzed:
            return
        assert result.prediction is not None
        names = self.config.detector.class_names
        summary.frames += 1
        summary.counts.update([names[label] for label in result.prediction.labels])
        if result.tracked is not None:
            summary.tracks = result.tracked.counts

    @contextmanager
    def opened(self, info: SourceInfo) -> Iterator[None]:
        """Open all sinks for a source; close them in reverse order, with the error that ends the block."""
        with ExitStack() as stack:
            for sink in self.sinks:
                stack.push(lambda kind, error, traceback, sink=sink: self._close(sink, info.source, error))
                with self._sink_errors():
                    sink.open(info)
            yield

    def _close(self, sink: Sink, source: InputSource, error: BaseException | None) -> None:
        with self._sink_errors():
            sink.close(source, error)

    @contextmanager
    def _sink_errors(self) -> Iterator[None]:
        """Report the failure of one output."""
        try:
            yield
        except SinkError as error:
            self.problem(str(error))

    def emit(self, result: FrameResult) -> bool:
        """Give a result to all sinks; return whether to go on."""
        if result.analyzed or self.needs_images:
            for sink in self.sinks:
                with self._sink_errors():
                    sink.emit(result)
        return not self.state.quit

    def emit_signal_loss(self, source: InputSource, image: np.ndarray, time: Fraction) -> None:
        """Give a frame of a lost signal to all sinks; see `Sink.signal_lost`."""
        for sink in self.sinks:
            with self._sink_errors():
                sink.signal_lost(source, image, time)

    def problem(self, line: str) -> None:
        """Report an input that could not be read, or an output that could not be written, and count it."""
        self.state.failed += 1
        self.progress.problem(line)
