"""Replay: the events of a recording by a camera's rules, as fast as the machine is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from detection.detector import Detector
from detection.video.open_source import open_video
from detection.watch.camera_analysis import CameraAnalysis, detection_options, fitted
from detection.watch.event import Event
from detection.watch.rules import EventStage
from detection.watch.settings import WatchSettings

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def replay(
    path: str | Path, camera: str, settings: WatchSettings, detector: Detector, start: datetime = EPOCH
) -> Iterator[Event]:
    """Yield the events of a video file as they end; the same file gives the same events with the same ids.

    Args:
        path: video file.
        camera: name of the camera whose zones and rules are used; frames are taken at its rate.
        settings: of the watch.
        detector: of the settings' model.
        start: time of the first frame.

    Raises:
        ImageError: the file cannot be read; events before are yielded.
    """
    analysis = CameraAnalysis(
        camera,
        settings,
        detector,
        clock=lambda time: start + timedelta(seconds=time),
        run=Path(path).name,
    )
    options = detection_options(settings, detector)
    due = 0.0
    try:
        with open_video(str(path)) as video:
            for frame in video:
                time = float(frame.time)
                if time < due - 1e-6:
                    continue
                due = max(due + 1 / analysis.settings.rate, time)
                image = fitted(frame.image, analysis.settings)
                size = (image.shape[1], image.shape[0])
                view = analysis.view(image, time, size)
                if view.analyze:
                    (prediction,) = detector.submit(
                        [image], options, [view.tiles] if len(view.tiles) else None
                    ).result()
                    changes = analysis.take(prediction, time, size)
                else:
                    changes = analysis.hold(time, size)
                yield from (change.event for change in changes if change.stage is EventStage.END)
    finally:
        ended = [change.event for change in analysis.engine.finish() if change.stage is EventStage.END]
    yield from ended
