"""Networks for 32×32 images: parameter counts, layout of the input, sizes, dropout."""

from functools import partial

import pytest
import torch
from torch import nn

from data.errors import SettingsError
from pelee.models.cifar import AlexNet32, Cnn795K
from pelee.models.complexity import count
from pelee.models.registry import build
from tests.support.registry_networks import published_on_meta, weighted

SIZED = [
    pytest.param(Cnn795K, "cnn-795k", id="cnn-795k"),
    pytest.param(partial(Cnn795K, corrected=True), "cnn-795k-corrected", id="cnn-795k-corrected"),
    pytest.param(AlexNet32, "alexnet-32", id="alexnet-32"),
]


def test_cnn_795k_counts() -> None:
    network = published_on_meta("cnn-795k")
    assert weighted(network) == [12_816, 4_640, 18_496, 65_600, 328_192, 262_656, 102_600]
    assert count(network, 32).parameters == 795_000


def test_counts_of_the_corrected_cnn_and_of_alexnet() -> None:
    """Corrected, the first convolution has 25·3·16 + 16, the first dense layer 3·3·64 inputs; the rest is as it was."""
    corrected = weighted(published_on_meta("cnn-795k-corrected"))
    assert corrected == [1_216, 4_640, 18_496, 65_600, 576 * 512 + 512, 262_656, 102_600]
    assert count(published_on_meta("alexnet-32"), 32).parameters == 797_290 == pytest.approx(800_000, rel=0.01)


def test_the_report_reads_columns_as_channels() -> None:
    """A column of the picture changes what one input channel of the first convolution gives, and nothing else."""
    torch.manual_seed(0)
    network = Cnn795K(4).eval()
    images = torch.rand(1, 3, 32, 32) * 255
    changed = images.clone()
    changed[..., 5] += 9  # column 5
    with torch.no_grad():
        network.features[0][1].weight[:, 5] = 0
        torch.testing.assert_close(network(changed), network(images))
        assert not torch.allclose(network(changed.transpose(2, 3)), network(images.transpose(2, 3)))  # row 5


def test_the_corrected_reading_sees_colours_as_channels() -> None:
    torch.manual_seed(0)
    network = Cnn795K(4, corrected=True).eval()
    images = torch.rand(1, 3, 32, 32) * 255
    changed = images.clone()
    changed[:, 1] += 9  # green
    with torch.no_grad():
        network.features[0][1].weight[:, 1] = 0
        torch.testing.assert_close(network(changed), network(images))


@pytest.mark.parametrize(("make", "name"), SIZED)
def test_a_network_of_one_size_says_so(make: partial[nn.Module], name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} takes images of 32×32 pixels only, got 48×64; set the input"):
        make(10)(torch.zeros(1, 3, 64, 48))


def test_dropout_of_alexnet() -> None:
    dropped = [m.p for m in build("alexnet-32", 3, {"dropout": 0.25}).modules() if isinstance(m, nn.Dropout)]
    assert dropped == [0.25, 0.25]
    with pytest.raises(SettingsError, match="dropout is 2; expected a probability, 0 to 1"):
        build("alexnet-32", 3, {"dropout": 2})
