"""Run configuration and state: defaults."""

import dataclasses

import pytest

from detection.inference.options import DetectionOptions
from detection.pipeline.run_config import RunConfig, RunState
from tests.support.rectangle_session import make_detector


def test_a_config_processes_every_frame_without_tracking_and_does_not_change() -> None:
    config = RunConfig(make_detector())
    assert (config.every, config.counting, config.numbers) == (1, None, True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.every = 2  # type: ignore[misc]


def test_states_are_independent() -> None:
    first, second = RunState(DetectionOptions()), RunState(DetectionOptions())
    first.summaries.append(None)  # type: ignore[arg-type]
    assert second.summaries == [] and (second.failed, second.lost, second.quit) == (0, 0, False)
