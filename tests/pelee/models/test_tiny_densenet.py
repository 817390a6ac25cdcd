"""tiny-densenet, cnn-795k and alexnet-32: the reports' counts layer by layer, their wiring, and the sizes they take."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import SettingsError
from pelee.models.complexity import count
from pelee.models.layers import fuse_conv_bn
from pelee.models.tiny_densenet import TinyDenseNet1, TinyDenseNet2
from tests.support.registry_networks import published_on_meta, weighted

# Counts


def test_tiny_densenet_1_counts() -> None:
    """By hand, without biases: 9·(3·32 + 32·64 + 64·128 + 128·256 + 256·512) and so on; 13312 = 4·3072 + 1024."""
    layers = weighted(published_on_meta("tiny-densenet-1"))
    assert layers[0] == 9 * 3 * 32
    assert layers[5] == 9 * 512 * 64  # of the first block's map
    assert layers[10] == 9 * (4 * 512 + 1024) * 32  # of both blocks' maps, the first one's in space-to-depth
    assert layers[-1] == 13_312 * 200
    assert sum(layers) == 17_906_528
    assert count(published_on_meta("tiny-densenet-1"), 64).parameters == pytest.approx(17.9e6, rel=0.01)


def test_tiny_densenet_2_counts() -> None:
    layers = weighted(published_on_meta("tiny-densenet-2"))
    assert layers[:2] == [9 * 3 * 32 + 32, 9 * 32 * 128 + 128]
    assert layers[5] == 9 * 160 * 256 + 256 and layers[9] == 9 * 416 * 512 + 512
    assert layers[-1] == 928 * 200 + 200
    assert sum(layers) == 11_802_440


# Wiring


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("name", ["tiny-densenet-1", "tiny-densenet-2"])
def test_tiny_densenets_take_the_sizes_of_their_training(name: str, size: int) -> None:
    assert published_on_meta(name)(torch.zeros(2, 3, size, size, device="meta")).shape == (2, 200)


def test_tiny_densenet_1_says_which_sizes_it_takes() -> None:
    with pytest.raises(SettingsError, match="tiny-densenet-1 takes sides that are multiples of 8 pixels, got 20×24"):
        published_on_meta("tiny-densenet-1")(torch.zeros(1, 3, 24, 20, device="meta"))


def narrowed(network: nn.Module) -> list[Tensor]:
    """Where the classifier's input is kept as the network runs."""
    kept: list[Tensor] = []
    network.classifier.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))  # type: ignore[union-attr]
    return kept


def test_space_to_depth_keeps_every_number_of_the_first_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the classifier sees begins with the first block's map, twice folded: nothing is pooled away."""
    torch.manual_seed(0)
    monkeypatch.setattr(TinyDenseNet1, "widths", ((4, 6), (5, 3), (2, 7)))
    network = TinyDenseNet1(3).eval()
    images = torch.rand(1, 3, 16, 16) * 255
    seen = narrowed(network)
    network(images)
    first = network.pool(network.blocks[0](network.normalize(images)))  # (1, 6, 8, 8)
    assert seen[0].shape == (1, 4 * (4 * 6 + 3) + 7, 2, 2)
    assert torch.equal(seen[0][:, : 16 * 6].flatten().sort().values, first.flatten().sort().values)


def test_blocks_are_joined_to_their_input_before_the_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    """New batch norms change nothing but the scale, so that the classifier's first channels are the stem's, pooled."""
    torch.manual_seed(0)
    monkeypatch.setattr(TinyDenseNet2, "widths", (4, 5, 6))
    network = TinyDenseNet2(3).eval()
    images = torch.rand(2, 3, 32, 32) * 255
    seen = narrowed(network)
    network(images)
    stem = network.stem(network.normalize(images))
    assert seen[0].shape == (2, 32 + 4 + 5 + 6, 4, 4)
    torch.testing.assert_close(seen[0][:, :32], F.max_pool2d(stem, 8), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_variance_scaling() -> None:
    """The variance is 1 / fan-in, and no weight lies beyond two of the uncut distribution's deviations."""
    torch.manual_seed(0)
    weight = TinyDenseNet2(10).blocks[1][1][0].weight  # 3×3 of 256 channels
    deviation = math.sqrt(1 / (9 * 256))
    assert weight.std().item() == pytest.approx(deviation, rel=0.01)
    assert weight.abs().max().item() <= 2 * deviation / 0.879 and weight.abs().max().item() > 2.2 * deviation


@pytest.mark.slow
def test_tiny_densenets_fuse() -> None:
    torch.manual_seed(0)
    network = TinyDenseNet2(4).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    images = torch.rand(1, 3, 16, 16) * 255
    with torch.no_grad():
        before = network(images)
        torch.testing.assert_close(fuse_conv_bn(network)(images), before, rtol=1e-3, atol=1e-4)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 3  # behind a concatenation
