"""The program that measures events: its truth and its comparison; and a film of one person, with the shipped model."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.images.image_io import read_image
from detection.detector import Detector
from detection.watch.event import EventKind
from detection.watch.replay import EPOCH, replay
from tests.acceptance.watch_events import (
    HEIGHT,
    WIDTH,
    Actor,
    Truth,
    compare,
    scripts,
    shares,
    truth_of,
    watch_of,
    write_film,
)
from tests.detection.watch.test_event import EVENT
from tests.support.paths import ROOT

SAMPLES = ROOT / "data" / "samples"


def actor(kind: int, label: str = "person") -> Actor:
    return Actor(np.zeros((320, 160, 4), np.uint8), label, scripts(1, kind))


def test_the_truth_follows_from_the_scripts() -> None:
    kinds = {index: [(str(truth.kind), truth.direction) for truth in truth_of(actor(index))] for index in range(5)}
    assert kinds[0] == [("crossed", "in"), ("entered", None), ("left", None)]
    assert kinds[1] == [("entered", None), ("left", None), ("crossed", "out")]
    assert kinds[2] == [("crossed", "in"), ("entered", None), ("left", None), ("crossed", "out")]
    assert kinds[3] == [("crossed", "in"), ("crossed", "out")] and kinds[4] == []
    assert truth_of(actor(0, "dog")) == []


def test_events_are_compared_one_to_one() -> None:
    truths = [Truth(EventKind.ENTERED, "person", None, 5.0), Truth(EventKind.ENTERED, "person", None, 20.0)]
    event = replace(EVENT, kind=EventKind.ENTERED, direction=None)
    events = [replace(event, start=EPOCH + timedelta(seconds=second)) for second in (5.2, 5.4)]
    counts = compare(events, truths)
    assert counts == {"entered": (1, 1, 1)} and shares(counts) == (0.5, 0.5)
    assert compare([replace(one, label="car") for one in events], truths) == {"entered": (0, 2, 2)}


@pytest.mark.slow
def test_a_person_goes_into_the_zone_and_back(tmp_path: Path) -> None:
    """The shipped model on a real photo that moves over another one."""
    astronaut = cv2.resize(read_image(SAMPLES / "astronaut.jpg"), (420, 420))[:, 40:360]
    pixels = np.dstack([astronaut, np.full(astronaut.shape[:2], 255, np.uint8)])
    ground = cv2.GaussianBlur(cv2.resize(read_image(SAMPLES / "chelsea.jpg"), (WIDTH, HEIGHT)), (0, 0), 40)
    walker = Actor(pixels, "person", scripts(1, 2))
    write_film(tmp_path / "film.mp4", [walker], ground)
    events = list(replay(tmp_path / "film.mp4", "film", watch_of(tiles="off"), Detector.load()))
    counts = compare(events, truth_of(walker))
    assert shares(counts) == (1.0, 1.0), (counts, [event.to_json() | {"boxes": []} for event in events])
