"""The networks of torchvision and timm: published counts, what stands before and behind them, and their settings."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from data.errors import SettingsError
from pelee.classification.loading import load_network
from pelee.models.complexity import count
from pelee.models.registry import MODELS, build
from pelee.training.trainer import to_tensors
from tests.support.registry_networks import MEAN, STD, inside, on_meta, parameters, random_images
from weights.card import Card
from weights.store import save_model

# Parameters with 1000 classes and multiply-adds in millions, as torchvision's and timm's tables of models have them;
# MobileNet V1's in its paper's table 8, NASNet-A's in its paper's table 2.
PUBLISHED = {
    "squeezenet": (1_235_496, 349),
    "efficientnet-b0": (5_288_548, 386),
    "mobilenet-v1": (4_231_976, 569),
    "mobilenet-v2": (3_504_872, 301),
    "shufflenet-v2": (2_278_604, 145),
    "vgg16": (138_357_544, 15_470),
    "nasnet-a": (88_753_150, 23_800),
    "densenet-121": (7_978_856, 2_834),
    "densenet-161": (28_681_000, 7_728),
    "densenet-169": (14_149_480, 3_360),
    "densenet-201": (20_013_928, 4_291),
    "inception-v3": (27_161_264, 5_713),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    counted = count(on_meta(name), MODELS[name].input_size)
    published, millions = PUBLISHED[name]
    assert counted.parameters == published
    assert counted.multiply_adds / 1e6 == pytest.approx(millions, rel=2e-3)
    assert counted.output_shapes == [(1, 1000)]


# What stands before: the normalisation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("squeezenet", lambda: torchvision.models.squeezenet1_1(num_classes=7)),
        ("mobilenet-v2", lambda: torchvision.models.mobilenet_v2(num_classes=7)),
        ("shufflenet-v2", lambda: torchvision.models.shufflenet_v2_x1_0(num_classes=7)),
        ("efficientnet-b0", lambda: torchvision.models.efficientnet_b0(num_classes=7)),
        ("mobilenet-v1", lambda: timm.create_model("mobilenetv1_100", num_classes=7)),
        ("densenet-121", lambda: torchvision.models.densenet121(num_classes=7)),
    ],
)
def test_logits_are_the_library_s_on_the_normalised_picture(name: str, reference: object) -> None:
    torch.manual_seed(3)
    network = build(name, 7, {"normalization": {"mean": MEAN, "std": STD}}).eval()
    torch.manual_seed(3)
    library = reference().eval()  # type: ignore[operator]
    images = random_images(2, 48)
    expected = library(torchvision.transforms.functional.normalize(images.float(), MEAN, STD))
    assert expected.std() > 0
    torch.testing.assert_close(network(images), expected)
    assert torch.equal(network(images), network(images.float()))
    assert sorted(network.state_dict()) == sorted(f"network.{name}" for name in library.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "mobilenet-v1", "shufflenet-v2", "ghostnet"])
def test_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 5, {"dropout": 0.0} if name != "shufflenet-v2" else {}).train()
    loss = network(random_images(4, 64)).square().sum()
    loss.backward()
    assert loss > 0 and not [name for name, one in network.named_parameters() if one.grad is None]


# What stands behind: an auxiliary classifier


@pytest.mark.slow
def test_inception_has_a_second_answer_in_training() -> None:
    network, images = on_meta("inception-v3", 5), torch.zeros(2, 3, 299, 299, device="meta")
    outputs = network.train()(images)
    assert type(outputs) is tuple
    logits, auxiliary = outputs
    assert logits.shape == auxiliary.shape == (2, 5)
    auxiliary.sum().backward()  # what gives it learns by it, what comes after it does not
    grads = {name: one.grad is not None for name, one in inside(network).named_parameters()}
    assert grads["AuxLogits.fc.weight"] and grads["Mixed_6e.branch1x1.conv.weight"] and not grads["fc.weight"]
    assert network.eval()(images).shape == (2, 5)


@pytest.mark.slow
def test_inception_without_its_auxiliary_classifier() -> None:
    network = on_meta("inception-v3", auxiliary=False)
    assert 27_161_264 - parameters(network) == 3_326_696
    assert network.train()(torch.zeros(2, 3, 96, 96, device="meta")).shape == (2, 1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "training", "size"),
    [
        ("inception-v3", True, 298),
        ("inception-v3", False, 74),
        ("vgg16", False, 31),
        ("densenet-121", False, 28),
        ("squeezenet", True, 16),
    ],
)
def test_a_picture_that_is_too_small_is_one_line(name: str, training: bool, size: int) -> None:
    network = on_meta(name).train(training)
    with pytest.raises(SettingsError, match=rf"an input of {size}×{size} pixels is too small .* at least {size + 1}$"):
        network(torch.zeros(2, 3, size, size, device="meta"))
    assert network(torch.zeros(2, 3, size + 1, size + 1, device="meta")) is not None


# Settings


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["squeezenet", "efficientnet-b0", "mobilenet-v1", "mobilenet-v2", "ghostnet", "hardnet"]
)
def test_with_all_dropped_only_the_bias_answers(name: str) -> None:
    network = build(name, 6, {"dropout": 1.0}).train()
    bias = [one for key, one in network.named_parameters() if key.endswith("bias")][-1]
    torch.nn.init.uniform_(bias, 0, 1)  # above 0, as SqueezeNet has a ReLU behind it
    logits = network(random_images(3, 40))
    torch.testing.assert_close(logits, bias.expand(3, 6))
    assert network.eval()(random_images(3, 40)).std(0).sum() > 0


@pytest.mark.slow
def test_dropout_of_the_large_ones() -> None:
    vgg16 = [module.p for module in on_meta("vgg16", dropout=0.3).modules() if isinstance(module, nn.Dropout)]
    assert vgg16 == [0.3, 0.3]
    assert inside(on_meta("nasnet-a", dropout=0.3)).head_drop.p == 0.3
    rates = {
        module.drop_rate for module in on_meta("densenet-121", dropout=0.3).modules() if hasattr(module, "drop_rate")
    }
    assert rates == {0.3}
    assert inside(on_meta("inception-v3", dropout=0.3)).dropout.p == 0.3


@pytest.mark.slow
def test_width_and_batch_norm() -> None:
    """Counts of torchvision's tables for ShuffleNet V2 and VGG16, of the paper's repository for MobileNet V2."""
    assert parameters(on_meta("shufflenet-v2", width=0.5)) == 1_366_792
    assert parameters(on_meta("shufflenet-v2", width=2)) == 7_393_996
    assert parameters(on_meta("vgg16", batch_norm=True)) == 138_365_992
    assert parameters(on_meta("mobilenet-v2", width=0.35)) == pytest.approx(1.66e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mobilenet-v2", {"dropout": 1.5}, "dropout is 1.5; expected 0 to 1"),
        ("nasnet-a", {"dropout": -0.1}, "dropout is -0.1; expected 0 to 1"),
        ("efficientnet-b0", {"stochastic_depth": 2}, "stochastic_depth is 2; expected 0 to 1"),
        ("mobilenet-v2", {"width": 0}, "width is 0; expected more than 0"),
        ("shufflenet-v2", {"width": 0.3}, "width is 0.3; expected one of 0.5, 1, 1.5, 2"),
        ("ghostnet", {"in_channels": 2}, "in_channels is 2; expected 3 for colour or 1 for grey"),
        ("ghostnet", {"last_width": 0}, "last_width is 0; expected at least 1"),
    ],
)
def test_a_setting_out_of_range_is_one_line(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        on_meta(name, **settings)


@pytest.mark.slow
def test_a_grey_network_is_normalised_by_the_statistics_of_grey() -> None:
    torch.manual_seed(0)
    network = build("ghostnet", 5, {"in_channels": 1, "normalization": {"mean": (90,) * 3, "std": (40,) * 3}}).eval()
    images = random_images(2, 64)
    (red, green, blue) = images.double().unbind(1)
    expected = inside(network)(((0.299 * red + 0.587 * green + 0.114 * blue - 90) / 40).float()[:, None])
    # The two inputs differ by the rounding of a few operations; a deep network multiplies that by its depth, and which
    # kernels the CPU has decides the rest. The statistics of RGB in place of grey's would differ by far more.
    error = (network(images) - expected).abs().max() / expected.abs().max()
    assert error < 1e-3
    wrong = inside(network)(((0.299 * red + 0.587 * green + 0.114 * blue - 120) / 60).float()[:, None])
    assert (wrong - expected).abs().max() / expected.abs().max() > 1e-1


# Files, and what is imported


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [("ghostnet", {"in_channels": 1, "last_width": 64}), ("mobilenet-v2", {"width": 0.35}), ("squeezenet", {})],
)
def test_a_model_file_brings_it_back(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(name, 3, settings).eval()
    card = Card("mine", "classification", name, ["a", "b", "c"], 64, architecture_settings=settings)
    again = load_network(save_model(tmp_path, to_tensors(network), card, half=False))
    assert torch.equal(again(random_images(2, 64)), network(random_images(2, 64)))
