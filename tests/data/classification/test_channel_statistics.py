"""Channel statistics against NumPy's."""

import numpy as np
import pytest

from data.classification.channel_statistics import ChannelStatistics


def test_statistics_are_numpy_s_over_all_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 9, 11, 3), dtype=np.uint8)
    found = ChannelStatistics()
    found.add(images[:3])
    found.add(images[3:])
    assert found.images == 7
    values = found.normalization()
    assert values["mean"] == pytest.approx(images.mean((0, 1, 2)), abs=6e-4)
    assert values["std"] == pytest.approx(images.std((0, 1, 2)), abs=6e-4)
    grey = images @ np.array([0.299, 0.587, 0.114])
    values = found.normalization(grey=True)
    assert values == {"mean": [round(grey.mean(), 3)] * 3, "std": [round(grey.std(), 3)] * 3, "grey": True}


def test_statistics_of_nothing_and_of_one_colour_are_refused() -> None:
    found = ChannelStatistics()
    with pytest.raises(Exception, match="no image"):
        found.normalization()
    found.add(np.full((2, 4, 4, 3), 7, np.uint8))
    with pytest.raises(Exception, match="all of one color"):
        found.normalization()
