"""SSDLite320 on MobileNetV3: torchvision's published counts, its default boxes, and the folded background."""

import dataclasses

import pytest
import torch

from data.errors import SettingsError
from detection.models.registry import build
from detection.models.ssdlite_mobilenetv3 import DESIGNS, SSDLite320, SSDLite320Config, fold_background
from pelee.models.complexity import count
from tests.support.torchvision_models import SSDLITE, default_boxes

COCO = DESIGNS["ssdlite320-mobilenetv3-coco"]
SMALL = SSDLite320Config(num_classes=3, input_size=64)


@pytest.mark.slow
def test_published_counts() -> None:
    """`num_params` and `_ops` of torchvision's SSDLite320_MobileNet_V3_Large_Weights."""
    with torch.device("meta"):
        counted = count(build(COCO), 320)
    assert counted.parameters == 3_440_060
    assert round(counted.multiply_adds / 1e6) == 583
    assert counted.output_shapes == [(1, 3234, 81), (1, 3234, 4)]


@pytest.mark.slow
def test_priors_are_torchvisions_default_boxes() -> None:
    with torch.device("meta"):
        network, theirs = SSDLite320(), SSDLITE()
    expected = default_boxes(theirs, 320, (20, 10, 5, 3, 2, 1))
    assert torch.allclose(network.priors(), expected, rtol=0, atol=1e-6)
    assert network.priors()[:, 2:].max() == 1  # clipped


@pytest.mark.slow
def test_every_size_has_a_prior_for_every_prediction() -> None:
    with torch.device("meta"):
        network = SSDLite320(SMALL).eval()
        for size in (65, 321):
            maps = network.features(torch.zeros(1, 3, size, size))
            assert [each.shape[1] for each in maps] == [672, 480]
            logits, offsets = network.forward_head(maps)
            expected = sum(maps.cells**2 * len(maps.shapes) for maps in network.prior_maps(size))
            assert logits.shape[:2] == offsets.shape[:2] == (1, expected), size


def test_folded_background_keeps_the_scores() -> None:
    logits = 3 * torch.randn(5, 7, 14, generator=torch.Generator().manual_seed(0))
    folded = fold_background(logits, 11)
    assert folded.shape == (5, 7, 4)
    assert torch.allclose(folded.softmax(-1)[..., 1:], logits.softmax(-1)[..., 11:], rtol=1e-5, atol=1e-7)
    assert fold_background(logits, 1) is logits


@pytest.mark.slow
def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = SSDLite320(dataclasses.replace(SMALL, background_outputs=2))
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    logits, offsets = network(images)
    assert logits.shape[-1] == 4
    (logits.square().mean() + offsets.square().mean()).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_settings_out_of_range() -> None:
    with pytest.raises(SettingsError, match="background_outputs is 0; expected at least 1"):
        SSDLite320Config(background_outputs=0)
