"""Frame result: waiting for the network."""

from pathlib import Path

import numpy as np

from detection.inference.options import DetectionOptions
from detection.pipeline.frame_result import FrameResult, Summary
from detection.pipeline.inputs import InputSource
from tests.support.rectangle_session import make_detector, picture

ITEM = InputSource("a.jpg", False, "a.jpg", Path("a.jpg"))


def test_result_waits_once_and_keeps_the_prediction() -> None:
    result = FrameResult(ITEM, image=picture())
    result.future = make_detector().submit([picture()], DetectionOptions(confidence=0.3))
    assert result.result() is result and result.future is None
    assert result.prediction is not None
    np.testing.assert_allclose(result.prediction.boxes, [[64, 32, 192, 96]], atol=2)
    assert result.result().prediction is result.prediction


def test_summaries_share_no_counts() -> None:
    Summary(ITEM).counts["dog"] += 1
    assert not Summary(ITEM).counts
