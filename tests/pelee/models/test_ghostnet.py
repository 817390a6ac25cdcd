"""GhostNet: parameter and multiply-add counts, grayscale input."""

import pytest
import torch

from pelee.models.complexity import count
from pelee.models.registry import build
from tests.support.registry_networks import MEAN, STD, inside, on_meta, parameters, random_images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "report"), [(320, 3_041_410), (640, 3_411_970), (960, 3_782_530), (1280, 4_153_090), (1600, 4_523_650)]
)
def test_ghostnet_counts_of_the_car_study(width: int, report: int) -> None:
    """The study's table rounds to tens; its best run's log has 3,041,412 at 320."""
    counted = parameters(on_meta("ghostnet", 196, last_width=width))
    assert counted == 2_670_852 + 1_158 * width
    assert counted // 10 * 10 == report


@pytest.mark.slow
def test_ghostnet_published_multiply_adds() -> None:
    assert count(on_meta("ghostnet"), 224).multiply_adds / 1e6 == pytest.approx(141, abs=0.5)  # paper, table 7


@pytest.mark.slow
def test_a_grey_network_sees_no_colour() -> None:
    torch.manual_seed(0)
    network = build("ghostnet", 5, {"in_channels": 1, "normalization": {"mean": MEAN, "std": STD}}).eval()
    assert inside(network).conv_stem.in_channels == 1
    images = random_images(2, 64).float()
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(network(images), network(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    colour = build("ghostnet", 5, {}).eval()
    assert not torch.allclose(colour(images), colour(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
