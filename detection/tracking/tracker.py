"""Multi-object tracking: an object keeps its track id from frame to frame.

An adapter of `ByteTrackTracker` of Roboflow's `trackers` (ByteTrack: Zhang et al., ECCV 2022, arXiv 2110.06864), with
counts. Use, for each source:

    tracker = Tracker(detector.class_names, rate, counting, confidence=options.confidence)
    options = options.change_confidence(continuation_threshold)  # weak boxes continue a track
    tracked = tracker.update(prediction, frame_time, (width, height))  # in the order of the source's frames
    line = to_json_line(..., tracked.prediction, names, track_ids=tracked.ids, counts=tracked.counts)
    draw_tracks(image, tracked, tracker)  # in any thread

`Tracker()` raises `ModuleNotFoundError` without the package `trackers`; `data.command_line.run` then names the extra to
install.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from detection.inference.prediction import Prediction
from detection.inference.thresholds import Confidence
from detection.tracking.counting import Counting, Event, Tally

if TYPE_CHECKING:
    from supervision import Detections


BUFFER = 1.0  # seconds without a detection after which a track ends
MISSES = 2  # frames without a detection that a track survives in any case, however far apart frames are
CONFIRMED = 3  # consecutive frames with a detection before a track gets its id: flickering detections get none
OVERLAP = 0.1  # minimum IoU of the predicted box of a track and a detection
TRAIL = 2.0  # seconds of a trail


@dataclass(frozen=True, slots=True)
class Tracked:
    """Detections of a frame with their track ids.

    Attributes:
        prediction: k detections by descending score; without weak boxes (see `continuation_threshold`) that continue
            no track.
        ids: (k,) int64 track ids, from 1, each used once; -1 for a detection that is not, or not yet, a track.
        counts: as `Tally.to_dict` describes, ready for JSON.
        trails: for each of the k the recent positions, (n, 2) pixels, oldest first; empty without a track.
        events: line crossings, zone entries and exits at this frame.
    """

    prediction: Prediction
    ids: np.ndarray
    counts: dict[str, Any]
    trails: list[np.ndarray]
    events: tuple[Event, ...] = ()


class Tracker:
    """Tracker and counter of the objects of one source. Not thread-safe.

    A track never changes its class: a box of class dog does not continue a track of class cat. A track survives
    `BUFFER` seconds and `MISSES` frames without detections; after both the object gets a new id.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        rate: Fraction | float,
        counting: Counting | None = None,
        *,
        confidence: Confidence = 0.0,
    ) -> None:
        """Make a tracker without tracks.

        Args:
            class_names: class names of the model, by label.
            rate: approximate frames per second that `update` gets: with every third frame of a video, a third of its
                rate. Frames dropped by a live source do no harm, as `update` takes the times.
            counting: lines and zones; None for none.
            confidence: a track starts with boxes of at least this score, or of that of their class; weaker ones only
                continue it. May be changed while it runs.
        """
        from trackers import ByteTrackTracker

        self.class_names = class_names
        self.counting = counting or Counting()
        self._rate = float(rate)
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(30 * BUFFER),  # it counts in thirtieths of a second, whatever the rate
            frame_rate=self._rate,
            minimum_consecutive_frames=CONFIRMED,
            minimum_iou_threshold=OVERLAP,
        )
        self.confidence = confidence
        self._clock = 0.0  # seconds of tracking; slower where frames are far apart
        self._step: float | None = None  # seconds from the frame before the last one to the last one
        self._time: float | None = None  # of the last frame
        self._tally: Tally | None = None
        self._highest = 0  # highest track id so far
        self._last: dict[int, tuple[np.ndarray, int]] = {}  # last box and label of each track
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}  # time, x, y

    def update(self, prediction: Prediction, time: Fraction | float, size: tuple[int, int]) -> Tracked:
        """Track the detections of the next frame.

        Args:
            prediction: detections, including the weak boxes above `continuation_threshold`.
            time: time of the frame in seconds, from any origin; where it does not increase, 1 / rate is assumed.
            size: (width, height) of the frame. Where it changes, tracks and counts stay, and coordinates are scaled.

        Raises:
            SettingsError: at the first frame, where a line or zone is outside it.
        """
        if self._tally is None:
            self._tally = Tally(self.counting, size, self.class_names)
        scale = np.tile(np.divide(self._tally.size, size), 2)
        ids = self._assign_ids(prediction.boxes * scale, prediction, float(time))
        shown = (ids > 0) | self._is_strong(prediction)
        prediction, ids = Prediction(*(part[shown] for part in prediction)), ids[shown]
        events = self._count(prediction.boxes * scale, prediction.labels, ids)
        trails = [
            (np.array([point[1:] for point in self._trails.get(number, ())]).reshape(-1, 2) / scale[:2])
            for number in ids.tolist()
        ]
        return Tracked(prediction, ids, self._tally.to_dict(), trails, events)

    def shapes(self, size: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the corners of lines and of zones in a frame of that (width, height), (n, 2) pixels each."""
        first = size if self._tally is None else self._tally.size
        scale = np.divide(size, first)
        lines, zones = (
            [shape.pixels(first) * scale for shape in shapes] for shapes in (self.counting.lines, self.counting.zones)
        )
        return lines, zones

    def _is_strong(self, prediction: Prediction) -> np.ndarray:
        """Whether each of k detections has the score that starts a track, (k,) bool."""
        limits = np.asarray(self.confidence, prediction.scores.dtype)
        strong: np.ndarray = prediction.scores >= (limits[prediction.labels] if limits.ndim else limits)
        return strong

    def _assign_ids(self, boxes: np.ndarray, prediction: Prediction, time: float) -> np.ndarray:
        """Return the track ids of (k, 4) boxes, (k,) int64."""
        from supervision import Detections

        first = self._time is None
        step = 1 / self._rate if self._time is None or time <= self._time else time - self._time
        # Tracks end by time. Where frames are far apart (the last two steps, so that a single gap is none), the clock
        # goes slower, so that `MISSES` frames without a detection fit into `BUFFER`.
        usual = min(step, self._step or step)
        self._clock += step * min(1.0, BUFFER / (MISSES + 1.5) / usual)
        self._step, self._time = None if first else step, time
        assert self._tally is not None
        # The tracker ignores classes: each is shifted to a region of its own, so that boxes of two classes are apart.
        shifted = boxes.astype(np.float64)
        shifted[:, ::2] += prediction.labels[:, None] * 4.0 * max(self._tally.size)
        # It only compares scores with its thresholds; 1 and 0 stand for scores above and below that of their class.
        self._tracker.high_conf_det_threshold = self._tracker.track_activation_threshold = 0.5
        strong = self._is_strong(prediction).astype(np.float32)
        updated = self._tracker.update(
            Detections(xyxy=shifted, confidence=strong, data={"row": np.arange(len(shifted))}),
            timestamp=self._clock,
        )
        ids = np.full(len(boxes), -1, np.int64)
        if updated.tracker_id is not None and len(updated):  # in another order, and from 0
            ids[updated.data["row"]] = np.where(updated.tracker_id < 0, -1, updated.tracker_id + 1)
        return ids

    def _count(self, boxes: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> tuple[Event, ...]:
        """Update counts, last boxes and trails, drop tracks that have ended; return the events."""
        assert self._tally is not None
        known = ids > 0
        seen = {
            number: (box, label)
            for number, box, label in zip(ids[known].tolist(), boxes[known], labels[known].tolist(), strict=True)
        }
        self._tally.add([label for number, (_, label) in seen.items() if number > self._highest])
        self._highest = max(self._highest, *seen, 0)
        alive = {track.tracker_id + 1 for track in self._tracker.tracks}
        absent = {number: last for number, last in self._last.items() if number in alive and number not in seen}
        events = self._tally.update(_detections(seen), _detections(absent))
        self._last = seen | absent
        for number, ((x1, _, x2, y2), _) in seen.items():
            self._trails.setdefault(number, deque()).append((self._clock, (x1 + x2) / 2, y2))
        self._trails = {number: trail for number, trail in self._trails.items() if number in self._last}
        for trail in self._trails.values():
            while trail and trail[0][0] < self._clock - TRAIL:
                trail.popleft()
        return events


def continuation_threshold(confidence: float) -> float:
    """Return the lowest score of boxes that a `Tracker` of that confidence uses to continue tracks.

    Half of it: a partly occluded object scores less, and its box still continues its track.
    """
    return confidence / 2


def _detections(objects: dict[int, tuple[np.ndarray, int]]) -> "Detections":
    """Return boxes and labels by number as tracked `Detections`."""
    from supervision import Detections

    return Detections(
        xyxy=np.array([box for box, _ in objects.values()]).reshape(-1, 4),
        class_id=np.array([label for _, label in objects.values()], int),
        tracker_id=np.array(list(objects), int),
    )
