"""SSD300 on VGG-16: torchvision's published counts, and its default boxes, which are spaced by the steps."""

import pytest
import torch

from data.errors import SettingsError
from detection.models.registry import build
from detection.models.ssd_vgg16 import DESIGNS, SSD300, SSD300Config
from pelee.models.complexity import count
from tests.support.torchvision_models import SSD, default_boxes


def test_published_counts() -> None:
    """`num_params` and `_ops` of torchvision's SSD300_VGG16_Weights."""
    with torch.device("meta"):
        counted = count(build(DESIGNS["ssd300-vgg16-coco"]), 300)
    assert counted.parameters == 35_641_826
    assert counted.multiply_adds / 1e9 == pytest.approx(34.858, abs=0.01)
    assert counted.output_shapes == [(1, 8732, 81), (1, 8732, 4)]


def test_priors_are_torchvisions_default_boxes() -> None:
    with torch.device("meta"):
        network, theirs = SSD300(), SSD()
    expected = default_boxes(theirs, 300, (38, 19, 10, 5, 3, 1))
    assert torch.allclose(network.priors(), expected, rtol=0, atol=1e-6)
    assert network.priors()[0, 0] == pytest.approx(0.5 * 8 / 300)  # not 0.5 / 38


def test_every_size_has_a_prior_for_every_prediction() -> None:
    with torch.device("meta"):
        network = SSD300().eval()
        for size in (268, 301, 512):
            logits, offsets = network(torch.zeros(1, 3, size, size))
            expected = sum(maps.cells**2 * len(maps.shapes) for maps in network.prior_maps(size))
            assert logits.shape[:2] == offsets.shape[:2] == (1, expected), size
        channels = tuple(maps.shape[1] for maps in network.features(torch.zeros(1, 3, 300, 300)))
    assert channels == (512, *network.feature_channels)


def test_smallest_input() -> None:
    with pytest.raises(SettingsError, match="input size 260 does not fit; expected at least 268"):
        SSD300Config(input_size=260)
