"""Drawing of tracks: colors by track id, lines, zones, counts."""

import numpy as np
import pytest

from detection.drawing import color_of
from detection.inference.prediction import Prediction
from detection.tracking.counting import Counting
from detection.tracking.drawing import SHAPE_COLOR, draw_tracks
from detection.tracking.tracker import Tracker

pytest.importorskip("trackers", reason="trackers is not here; it is in the extra track")
SIZE = (400, 300)


def drawn(counting: Counting | None = None) -> np.ndarray:
    tracker = Tracker(["cat", "dog"], 10, counting, confidence=0.3)
    box = np.array([[50, 100, 150, 200]], np.float32)
    prediction = Prediction(box, np.array([0.9], np.float32), np.array([1]))
    for frame in range(5):
        prediction = prediction._replace(boxes=box + np.array([10, 0, 10, 0], np.float32) * frame)
        tracked = tracker.update(prediction, frame / 10, SIZE)
    assert tracked.ids.tolist() == [1]
    return draw_tracks(np.full((SIZE[1], SIZE[0], 3), 128, np.uint8), tracked, tracker)


def test_box_and_trail_have_the_color_of_the_track() -> None:
    image = drawn()
    assert tuple(image[200, 160]) == color_of(1)  # the lower edge of the box
    assert tuple(image[200, 120]) == color_of(1)  # and the trail behind its middle


def test_lines_zones_and_totals_are_drawn() -> None:
    plain, image = drawn(), drawn(Counting.parse(["300,20,380,20"], ["200,220,390,220,390,290,200,290"]))
    assert tuple(image[20, 310]) == SHAPE_COLOR and tuple(image[290, 300]) == SHAPE_COLOR
    assert (plain[20, 310] == 128).all() and (plain[290, 300] == 128).all()
    assert (plain[285:300, :60] != 128).any()  # "dog 1" at the lower left
