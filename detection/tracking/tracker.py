"""Tracking: the same object keeps its number from picture to picture.

`ByteTrackTracker` of Roboflow's `trackers` (ByteTrack: Zhang et al., ECCV 2022, arXiv 2110.06864) does the work; this
module feeds it and counts. How the command uses it, for each source:

    tracker = Tracker(detector.class_names, rate, counting, confidence=search.confidence)
    search = replace(search, confidence=weakest(search.confidence))  # weak boxes keep a track alive
    tracked = tracker.update(prediction, frame_time, (width, height))  # in order, a source's pictures only
    line = to_json_line(..., tracked.prediction, names, track_ids=tracked.ids, counts=tracked.counts)
    draw_tracks(image, tracked, tracker)  # later and in another thread, if that suits

`Tracker()` raises `ModuleNotFoundError` without the package `trackers`; `data.command_line.run` then names
the extra to install.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from detection.inference.prediction import Prediction
from detection.tracking.counting import Counting, Event, Tally

if TYPE_CHECKING:
    from supervision import Detections


BUFFER = 1.0  # seconds that an object may be out of sight and keep its number
CONFIRMED = 3  # times in a row that an object is seen until it has a number: what flickers gets none
OVERLAP = 0.1  # the least IoU of where an object is expected and where a box is
TRAIL = 2.0  # seconds that a trail reaches back


@dataclass(frozen=True, slots=True)
class Tracked:
    """A picture's objects with their numbers.

    Attributes:
        prediction: what was found, best first; without weak boxes (see `weakest`) that continue no track.
        ids: (k,) int64, the number of each; from 1, never given twice; -1 for what is not, or not yet, a track.
        counts: as `Tally.to_dict` describes, ready for JSON.
        trails: for each of the k where it has been lately, (n, 2) pixels, oldest first; empty without a track.
        events: line crossings, zone entries and exits at this frame.
    """

    prediction: Prediction
    ids: np.ndarray
    counts: dict[str, Any]
    trails: list[np.ndarray]
    events: tuple[Event, ...] = ()


class Tracker:
    """Numbers the objects of one source, and counts them. Not for several threads at once.

    An object never changes its class: a box that the network calls a dog continues no cat. Its number lasts through a
    second out of sight; after that it is a new object.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        rate: Fraction | float,
        counting: Counting | None = None,
        *,
        confidence: float = 0.0,
    ) -> None:
        """Begin with no objects.

        Args:
            class_names: the model's, by label.
            rate: pictures a second that `update` will get, about: with every third of a video's, a third of its rate.
                Pictures that a live source drops do no harm, `update` knows the times.
            counting: lines and zones; None for none.
            confidence: an object begins with boxes that score at least this; weaker ones only continue a track. May
                be set anew while it runs.
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
        self._clock = 0.0  # seconds of tracking
        self._time: float | None = None  # of the last picture
        self._tally: Tally | None = None
        self._highest = 0  # number given so far
        self._last: dict[int, tuple[np.ndarray, int]] = {}  # box and label of each track when it was last seen
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}  # time, x, y

    def update(self, prediction: Prediction, time: Fraction | float, size: tuple[int, int]) -> Tracked:
        """Number what was found in the next picture.

        Args:
            prediction: the picture's, with the weak boxes that `weakest` lets through.
            time: when it was taken, in seconds from any beginning; where that goes back, the next picture is taken to
                be one of `rate` later.
            size: the picture's (width, height). Where it changes, objects and counts stay, and places are scaled.

        Raises:
            SettingsError: at the first picture, where a line or zone is not within it.
        """
        if self._tally is None:
            self._tally = Tally(self.counting, size, self.class_names)
        scale = np.tile(np.divide(self._tally.size, size), 2)
        ids = self._number(prediction.boxes * scale, prediction, float(time))
        shown = (ids > 0) | (prediction.scores >= self.confidence)
        prediction, ids = Prediction(*(part[shown] for part in prediction)), ids[shown]
        events = self._count(prediction.boxes * scale, prediction.labels, ids)
        trails = [
            (np.array([point[1:] for point in self._trails.get(number, ())]).reshape(-1, 2) / scale[:2])
            for number in ids.tolist()
        ]
        return Tracked(prediction, ids, self._tally.to_dict(), trails, events)

    def places(self, size: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the corners of lines and of zones in a picture of that (width, height), (n, 2) pixels each."""
        first = size if self._tally is None else self._tally.size
        scale = np.divide(size, first)
        lines, zones = (
            [shape.pixels(first) * scale for shape in shapes] for shapes in (self.counting.lines, self.counting.zones)
        )
        return lines, zones

    def _number(self, boxes: np.ndarray, prediction: Prediction, time: float) -> np.ndarray:
        """Return the ids of (k, 4) boxes."""
        from supervision import Detections

        step = 1 / self._rate if self._time is None or time <= self._time else time - self._time
        self._clock, self._time = self._clock + step, time
        assert self._tally is not None
        # The tracker knows no classes: each has a place of its own, far from the others, so that none meet.
        apart = boxes.astype(np.float64)
        apart[:, ::2] += prediction.labels[:, None] * 4.0 * max(self._tally.size)
        self._tracker.high_conf_det_threshold = self._tracker.track_activation_threshold = self.confidence
        found = self._tracker.update(
            Detections(xyxy=apart, confidence=prediction.scores, data={"row": np.arange(len(apart))}),
            timestamp=self._clock,
        )
        ids = np.full(len(boxes), -1, np.int64)
        if found.tracker_id is not None and len(found):  # in an order of their own, and from 0
            ids[found.data["row"]] = np.where(found.tracker_id < 0, -1, found.tracker_id + 1)
        return ids

    def _count(self, boxes: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> tuple[Event, ...]:
        """Count, remember the last place of each track, forget tracks that have ended; return the events."""
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


def weakest(confidence: float) -> float:
    """Return the score down to which boxes are worth giving to a `Tracker` of that confidence.

    Half of it: an object half hidden scores less, and a box too weak to begin a track is enough to go on with one.
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
