"""Pelee of the PyTorch ports: its priors, as the ports compute them, and its shapes."""

import pytest
import torch

from data.errors import SettingsError
from detection.models.pelee_port import COCO_SIZES, VOC_SIZES, PeleePort, PeleePortConfig
from detection.training.settings import TrainSettings
from tests.support.pelee_port import port_priors


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [VOC_SIZES, COCO_SIZES])
def test_priors_are_those_of_the_ports(sizes: tuple[float, ...]) -> None:
    with torch.device("meta"):
        network = PeleePort(PeleePortConfig(prior_sizes=sizes))
    expected = torch.tensor(port_priors(sizes)).clamp(0, 1)
    assert torch.allclose(network.priors(), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_every_size_has_a_prior_for_every_prediction() -> None:
    with torch.device("meta"):
        network = PeleePort().eval()
        for size in (272, 304, 512):
            logits, offsets = network(torch.zeros(1, 3, size, size))
            assert logits.shape == (1, len(network.priors(size)), 21) and offsets.shape == (*logits.shape[:2], 4)
    assert network.feature_channels == (512, 704)


@pytest.mark.slow
def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = PeleePort(PeleePortConfig(num_classes=2, input_size=272))
    logits, offsets = network(torch.rand(2, 3, 272, 272, generator=torch.Generator().manual_seed(0)) * 255)
    (logits.square().mean() + offsets.square().mean()).backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_settings() -> None:
    settings = TrainSettings(model="pelee-port", input_size=304, prior_sizes="coco")
    assert settings.network(2) == PeleePortConfig(2, prior_sizes=COCO_SIZES)
    with pytest.raises(SettingsError, match="prior_sizes has 7 sizes; expected 6"):
        PeleePortConfig(prior_sizes=(0.1,) * 7)
