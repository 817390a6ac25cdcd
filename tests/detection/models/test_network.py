"""Input sizes of detector networks."""

import pytest

from data.errors import SettingsError
from detection.models.inference_model import DetectionGraph
from detection.models.pelee import Pelee, PeleeConfig
from detection.models.registry import ARCHITECTURES
from tests.support.tiny_detector import CONFIG

NETWORK = Pelee(CONFIG)


@pytest.mark.parametrize("size", [0, 48, 63, 300, 305, -64])
def test_sizes_that_do_not_fit(size: int) -> None:
    match = f"input size {size} does not fit; expected a multiple of 16, at least 64"
    with pytest.raises(SettingsError, match=match):
        ARCHITECTURES["pelee"].check_input_size(size)
    with pytest.raises(SettingsError, match=match):
        PeleeConfig(input_size=size)


def test_priors_of_a_size_that_does_not_fit() -> None:
    """300 gives 19×19 cells in the network, which 300 // 16 does not: no silent mismatch."""
    with pytest.raises(SettingsError, match="input size 300 does not fit"):
        NETWORK.priors(300)
    with pytest.raises(SettingsError, match="input size 300 does not fit"):
        DetectionGraph(NETWORK, 300)


@pytest.mark.parametrize("size", [64, 304, 512])
def test_sizes_that_fit(size: int) -> None:
    assert ARCHITECTURES["pelee"].check_input_size(size) == size
