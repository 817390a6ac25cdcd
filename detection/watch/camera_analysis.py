"""Analysis of one camera: motion gate, tiles, tracker and rules, for live frames and for recordings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import cv2
import numpy as np

from detection.detector import Detector
from detection.inference.options import DetectionOptions, model_options
from detection.inference.prediction import Prediction
from detection.tiling.tiling import Tiling
from detection.tracking.counting import Counting
from detection.tracking.tracker import Tracker, continuation_threshold
from detection.watch.motion import Motion, MotionGate, tiles_of_motion
from detection.watch.rules import EventChange, RuleEngine
from detection.watch.scene import SeenObject
from detection.watch.settings import CameraSettings, RuleSettings, WatchSettings

REFRESH = 5.0  # seconds after which a frame goes to the network without motion: light that fades in, a drifting camera
TILES = 2  # of a frame at most
RELIEF = 5.0  # seconds without tiles after a frame that was dropped: the frame itself comes first


@dataclass(slots=True)
class AnalysisStats:
    """Counts of one camera: frames looked at by the motion gate, those that went to the network, their tiles."""

    frames: int = 0
    analyzed: int = 0
    tiles: int = 0


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Decision of the gate on a frame: whether it goes to the network, and its tiles, (T, 4) int64 xyxy pixels."""

    analyze: bool
    tiles: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.int64))


def class_thresholds(detector: Detector) -> dict[str, float]:
    """Return the model's default score threshold of each class, by name."""
    defaults, names = detector.card.default_thresholds, detector.class_names
    return dict(zip(names, defaults if isinstance(defaults, tuple) else [defaults] * len(names), strict=True))


def start_thresholds(rules: Iterable[RuleSettings], thresholds: Mapping[str, float]) -> tuple[float, ...]:
    """Return for each class the lowest score with which one of its objects begins by any rule."""
    lowest = dict(thresholds)
    for rule in rules:
        for label in rule.labels or thresholds:
            lowest[label] = min(lowest[label], lowest[label] if rule.min_score is None else rule.min_score)
    return tuple(lowest.values())


def detection_options(settings: WatchSettings, detector: Detector) -> DetectionOptions:
    """Options of the network for all rules: their classes, and the lowest scores that continue a track."""
    rules = settings.rules.values()
    labels = sorted({label for rule in rules for label in rule.labels})
    classes = detector.class_ids(labels) if all(rule.labels for rule in rules) else None
    starts = start_thresholds(rules, class_thresholds(detector))
    options = model_options(detector.card, starts, classes=classes)
    return options.change_confidence(continuation_threshold)


def fitted(image: np.ndarray, settings: CameraSettings) -> np.ndarray:
    """Reduce an image to the camera's `size`, with its aspect; smaller ones stay."""
    height, width = image.shape[:2]
    if settings.size is None:
        return image
    scale = min(settings.size.width / width, settings.size.height / height)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class CameraAnalysis:
    """State of the analysis of one camera. Not thread-safe; frames come in their order.

    For each frame `view`, and then `take` with the network's result, or `hold` where it was not analyzed: without
    motion the objects are where they were, and their tracks go on without the network.
    """

    def __init__(
        self,
        name: str,
        settings: WatchSettings,
        detector: Detector,
        *,
        clock: Callable[[float], datetime],
        run: str,
    ) -> None:
        """Make the analysis of a camera.

        Args:
            name: of the camera.
            settings: of the watch.
            detector: gives class names, input size and score thresholds.
            clock: the aware UTC time of a frame's time in seconds.
            run: unique text for the events' ids.
        """
        self.settings = settings.cameras[name]
        rules = settings.rules_of(name)
        self.stats = AnalysisStats()
        self._class_names, self._input_size = detector.class_names, detector.input_size
        self._gate = MotionGate() if self.settings.motion else None
        self._tiling = Tiling.parse(self.settings.tiles)
        self._all_tiles: tuple[tuple[int, int], np.ndarray] | None = None
        counting = Counting(
            tuple(line.shape(key) for key, line in self.settings.lines.items()),
            tuple(zone.shape(key) for key, zone in self.settings.zones.items()),
        )
        thresholds = class_thresholds(detector)
        least = start_thresholds(settings.rules.values(), thresholds)
        self._tracker = Tracker(detector.class_names, self.settings.rate, counting, confidence=least)
        self.engine = RuleEngine(
            name, self.settings, rules, clock=clock, thresholds=thresholds, run=run, timezone=settings.timezone
        )
        self._last: Prediction | None = None
        self._last_time = float("-inf")  # of the last frame that went to the network
        self._unsure = False
        self._dropped = 0
        self._relief_until = float("-inf")

    def view(self, luma: np.ndarray, time: float, size: tuple[int, int], dropped: int = 0) -> GateDecision:
        """Decide on a frame.

        Args:
            luma: (H, W) uint8 brightness in any size, or (H, W, 3) uint8 RGB.
            time: of the frame in seconds.
            size: (width, height) of the frame that the network would get.
            dropped: frames that the source has dropped so far.
        """
        if dropped > self._dropped:
            self._relief_until = time + RELIEF
        self._dropped = dropped
        self.stats.frames += 1
        motion = Motion(True, np.empty((0, 4), np.int64)) if self._gate is None else self._gate.look(luma)
        if not (motion.moving or self._unsure or time - self._last_time >= REFRESH):
            return GateDecision(False)
        if self._gate is not None:
            self._gate.analyzed()
        self._last_time = time
        self.stats.analyzed += 1
        scale = np.tile(np.divide(size, luma.shape[1::-1]), 2)
        # A frame that is stored on its side has other coordinates than its brightness.
        upright = (size[0] > size[1]) == (luma.shape[1] > luma.shape[0])
        if self._tiling is None or not upright or time < self._relief_until or not len(motion.boxes):
            return GateDecision(True)
        tiles = tiles_of_motion(self._tiles(self._tiling, size), (motion.boxes * scale).round().astype(np.int64), TILES)
        self.stats.tiles += len(tiles)
        return GateDecision(True, tiles)

    def take(self, prediction: Prediction, time: float, size: tuple[int, int]) -> list[EventChange]:
        """Take the network's result of a frame of (width, height)."""
        tracked = self._tracker.update(prediction, time, size)
        self._last = prediction
        boxes, scores, labels = tracked.prediction
        seen = [
            SeenObject(number, self._class_names[label], round(score, 4), (x1, y1, x2, y2))
            for number, label, score, (x1, y1, x2, y2) in zip(
                tracked.ids.tolist(),
                labels.tolist(),
                scores.astype(np.float64).tolist(),
                boxes.astype(np.float64).round(1).tolist(),
                strict=True,
            )
            if number > 0
        ]
        found = self.engine.update(time, size, seen, tracked.events)
        # A track that is beginning, or an object that has just been missed: the next frame decides.
        self._unsure = len(seen) < len(tracked.ids) or self.engine.missing > 0
        return found

    def hold(self, time: float, size: tuple[int, int]) -> list[EventChange]:
        """Take a frame that was not analyzed: all is where it was."""
        if self._last is None or self.engine.objects == 0:
            return self.engine.tick(time)
        return self.take(self._last, time, size)

    def _tiles(self, tiling: Tiling, size: tuple[int, int]) -> np.ndarray:
        if self._all_tiles is None or self._all_tiles[0] != size:
            self._all_tiles = (size, tiling.tiles(*size, self._input_size))
        return self._all_tiles[1]
