"""`pelee-bench` times what really runs."""

import time

import numpy as np
import pytest
from rectangle_runtime import make_detector

from data.images import write_image
from detection import benchmark


@pytest.fixture
def picture(tmp_path):
    write_image(tmp_path / "picture.jpg", np.full((40, 60, 3), 90, np.uint8))
    return str(tmp_path / "picture.jpg")


def test_detection_is_timed_by_stage_and_as_often_as_asked(picture, monkeypatch):
    from detection.detector import Detector

    detector = make_detector()
    calls = []
    plain = detector.predict_batch

    def slow(*args, **kwargs):
        calls.append(1)
        with detector.timer.stage("network"):
            time.sleep(0.02)
        return plain(*args, **kwargs)

    monkeypatch.setattr(detector, "predict_batch", slow)
    monkeypatch.setattr(Detector, "load", classmethod(lambda cls, name: detector))
    stages = benchmark.time_detection("any", [picture], repeats=4)
    assert len(calls) == 4 + benchmark.WARM_UP
    assert {"decode", "preprocess", "network", "postprocess"} <= set(stages)
    assert all(milliseconds >= 0 for milliseconds in stages.values())


def test_start_and_memory_are_those_of_a_new_process(picture, trained_run):
    seconds, megabytes = benchmark.time_start(str(trained_run.output / "model"), picture)
    assert 0.2 < seconds < 120
    assert 50 < megabytes < 8000


def test_training_is_timed_over_the_steps_asked_for(voc_root):
    rate = benchmark.time_training(voc_root, "2007-trainval", "fp32", steps=2, batch_size=2)
    assert 0.01 < rate < 10_000


def test_a_folder_without_pictures_is_one_line(tmp_path, capsys):
    assert benchmark.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
