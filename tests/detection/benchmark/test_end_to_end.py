"""End-to-end benchmark: new processes, video and training."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import write_image
from detection.benchmark import end_to_end
from detection.detector import Detector
from tests.conftest import TrainedRun
from tests.support.rectangle_session import clip, make_detector, picture


@pytest.mark.slow
def test_start_and_memory_are_those_of_a_new_process(tmp_path: Path, trained_run: TrainedRun) -> None:
    photo = str(tmp_path / "photo.png")
    write_image(tmp_path / "photo.png", picture())
    ballast = np.ones(1 << 27, np.uint8)  # ours, which the child's peak must not begin with
    measured = end_to_end.run_command([photo, "--weights", str(trained_run.output / "model"), "--json", "-"])
    assert 0.2 < measured["first_line_s"] <= measured["seconds"] < 120
    assert 50 < measured["memory_mb"] < 8000
    assert end_to_end.run_command(["--help"])["memory_mb"] < 60 < len(ballast) / 2**20


@pytest.mark.slow
def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        end_to_end.run_command(["absent.jpg"])
    assert error.value.returncode == 2 and "absent.jpg" in error.value.stderr


@pytest.mark.slow
def test_video_rates_of_the_command_and_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = str(clip(tmp_path / "clip.mp4", frames=9))
    commands: list[list[str]] = []

    def command(arguments: list[str]) -> dict[str, float]:
        commands.append(arguments)
        return {"seconds": 0.5}

    monkeypatch.setattr(end_to_end, "run_command", command)
    monkeypatch.setattr(Detector, "load", lambda name, mode: make_detector())
    found = end_to_end.time_video(video, "any", rounds=2, seconds=0.05)
    assert found["frames"] == 9 and found["runtime"] == "rectangles"
    assert list(found["rates"]) == ["decoder", "network", "pipeline", "pipeline drawn", "command", "command drawn"]
    assert found["rates"]["command"] == 18 and all(rate > 0 for rate in found["rates"].values())
    assert set(found["stages_ms"]) == {"decode", "preprocess", "network", "postprocess", "draw", "encode"}
    assert len(commands) == 6 and all(words[:3] == [video, "--weights", "any"] for words in commands)
    assert ["--output" in words for words in commands] == [False, True] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.slow
def test_training_is_timed_over_the_steps_asked_for(voc_root: Path) -> None:
    rate = end_to_end.time_training(voc_root, "2007-trainval", "fp32", steps=2, batch_size=2)
    assert 0.01 < rate < 10_000
