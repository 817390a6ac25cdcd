from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from detection.watch.camera_analysis import (
    REFRESH,
    RELIEF,
    TILES,
    CameraAnalysis,
    class_thresholds,
    detection_options,
    fitted,
    start_thresholds,
)
from detection.watch.rules import EventChange, EventStage
from detection.watch.settings import CameraSettings, RuleSettings, WatchSettings
from detection.watch.shapes import FrameSize
from tests.support.rectangle_session import DARK, RED, make_detector, picture
from tests.support.watch_scenes import watch_settings

START = datetime(2026, 1, 31, tzinfo=UTC)


class Run:
    """An analysis with its network."""

    def __init__(self, settings: WatchSettings | None = None, step: float = 0.1) -> None:
        self.settings = settings or watch_settings()
        self.detector = make_detector()
        self.options = detection_options(self.settings, self.detector)
        self.analysis = CameraAnalysis(
            "yard", self.settings, self.detector, clock=lambda time: START + timedelta(seconds=time), run="test"
        )
        self.time, self.step = 0.0, step

    def frame(self, image: np.ndarray) -> list[EventChange]:
        size = (image.shape[1], image.shape[0])
        view = self.analysis.view(image, self.time, size)
        if view.analyze:
            (prediction,) = self.detector.submit([image], self.options, None).result()
            changes = self.analysis.take(prediction, self.time, size)
        else:
            changes = self.analysis.hold(self.time, size)
        self.time += self.step
        return changes


@pytest.mark.slow
def test_a_still_scene_costs_little_and_its_objects_stay() -> None:
    run = Run()
    found = [change for _ in range(200) for change in run.frame(picture(box=(160, 32, 220, 96)))]
    kinds = [str(change.event.kind) for change in found if change.stage is EventStage.BEGIN]
    assert sorted(kinds) == ["appeared", "entered", "stayed"]
    assert run.analysis.engine.objects == 1
    assert run.analysis.stats.frames == 200
    assert 200 * run.step / REFRESH - 1 <= run.analysis.stats.analyzed <= 15
    assert not [change for change in found if change.stage is EventStage.END]


@pytest.mark.slow
def test_an_empty_scene_goes_to_the_network_now_and_then() -> None:
    run = Run()
    for _ in range(200):
        run.frame(picture(colour=DARK))
    assert run.analysis.stats.analyzed == 200 * run.step / REFRESH


def test_without_the_gate_every_frame_goes_to_the_network() -> None:
    run = Run(watch_settings(motion=False))
    for _ in range(30):
        run.frame(picture(colour=DARK))
    assert run.analysis.stats.analyzed == 30


@pytest.mark.slow
def test_an_object_that_goes_away_is_gone_though_nothing_moves_afterwards() -> None:
    run = Run()
    for _ in range(10):
        run.frame(picture())
    ended = []
    for _ in range(60):
        ended += [change for change in run.frame(picture(colour=DARK)) if change.stage is EventStage.END]
    assert "appeared" in {str(change.event.kind) for change in ended} and run.analysis.engine.objects == 0


def test_boxes_and_scores_are_rounded() -> None:
    run = Run()
    changes = [change for _ in range(6) for change in run.frame(picture())]
    (change,) = [change for change in changes if change.stage is EventStage.BEGIN and change.event.rule == "seen"]
    assert change.event.score == 0.9 and change.box == (64.0, 32.0, 192.0, 96.0)
    assert (change.event.width, change.event.height) == (256, 128)


def test_tiles_are_where_the_motion_is() -> None:
    run = Run(watch_settings(tiles="4"))
    run.frame(picture(640, 480, colour=DARK))
    image = picture(640, 480, (50, 60, 70, 90), RED)
    view = run.analysis.view(image, 0.1, (640, 480))
    assert 1 <= len(view.tiles) <= TILES
    x1, y1, x2, y2 = view.tiles[0]
    assert x1 <= 50 and y1 <= 60 and x2 >= 70 and y2 >= 90
    moved = picture(640, 480, (350, 260, 370, 290), RED)
    assert len(run.analysis.view(moved, 0.2, (640, 480), dropped=1).tiles) == 0  # the network is behind
    again = picture(640, 480, (150, 260, 170, 290), RED)
    assert len(run.analysis.view(again, 0.3 + RELIEF, (640, 480), dropped=1).tiles) >= 1


def test_thresholds_of_rules_and_classes() -> None:
    detector = make_detector()
    defaults = class_thresholds(detector)
    assert defaults == {"red thing": 0.5, "white thing": 0.5, "unseen": 0.5}
    rules = [
        RuleSettings(labels=("red thing",), min_score=0.2),
        RuleSettings(min_score=0.4),
        RuleSettings(min_score=0.8),
    ]
    assert start_thresholds(rules, defaults) == (0.2, 0.4, 0.4)
    options = detection_options(WatchSettings({"yard": CameraSettings("test")}, {"a": rules[0]}), detector)
    assert options.classes == [0] and options.confidence == pytest.approx((0.1, 0.25, 0.25))
    assert detection_options(WatchSettings({}, dict(zip("abc", rules, strict=True))), detector).classes is None


@pytest.mark.parametrize(
    ("size", "expected"), [(None, (480, 640)), (FrameSize(320, 320), (240, 320)), (FrameSize(1280, 720), (480, 640))]
)
def test_images_are_reduced_to_fit(size: FrameSize | None, expected: tuple[int, int]) -> None:
    assert fitted(np.zeros((480, 640, 3), np.uint8), CameraSettings("test", size=size)).shape[:2] == expected
