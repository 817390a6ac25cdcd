"""SSDLite on MobileNetV2: its published counts, its priors by hand, and as good a detector as Pelee everywhere."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from data.errors import SettingsError, WeightsError
from detection.detector import Detector
from detection.export.export import export_detector
from detection.export.verification import DetectorCheck
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network, to_config, to_settings
from detection.models.registry import build
from detection.models.ssdlite import DESIGNS, HalvingConv, SSDLite, SSDLiteConfig, head_map_sizes
from detection.training.loss import init_heads, multibox_loss
from detection.training.loss_settings import LossSettings
from detection.training.settings import resolve_settings
from detection.training.targets import Target
from pelee.models.complexity import count
from pelee.models.layers import fuse_conv_bn
from pelee.models.pretrained import load_partial, read_weights
from tests.support.tiny_detector import SIZE, save_pictures, save_small
from weights.card import Card
from weights.store import resolve

SMALL = SSDLiteConfig(num_classes=3, input_size=SIZE, width=0.1)


def small(**changes: Any) -> SSDLite:
    torch.manual_seed(0)
    return SSDLite(dataclasses.replace(SMALL, **changes)).eval()


def images(size: int = SIZE, number: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


# What is published


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "input_size", "parameters", "millions", "priors"),
    [
        ("ssdlite-mobilenetv2-voc", 300, 3_355_833, 645, 1917),
        ("ssdlite-mobilenetv2-coco", 300, 4_337_013, 735, 1917),
        ("ssdlite-mobilenetv2-coco", 320, 4_337_013, 789, 2034),  # the paper's: 4.3 M, 0.8 G
    ],
)
def test_published_counts(name: str, input_size: int, parameters: int, millions: int, priors: int) -> None:
    config = DESIGNS[name]
    with torch.device("meta"):
        counted = count(build(config), input_size)
    assert (counted.parameters, round(counted.multiply_adds / 1e6)) == (parameters, millions)
    assert counted.output_shapes == [(1, priors, config.num_classes + 1), (1, priors, 4)]


@pytest.mark.slow
def test_published_maps() -> None:
    assert head_map_sizes(300) == (19, 10, 5, 3, 2, 1)
    network = SSDLite()
    assert network.feature_channels == (576, 1280)
    with torch.no_grad():
        maps = network.eval().features(images(300, 1))
    assert [tuple(m.shape[1:]) for m in maps] == [(576, 19, 19), (1280, 10, 10)]


@pytest.mark.slow
def test_priors_by_hand() -> None:
    """The published minima 0.2, 0.35, 0.5, 0.65, 0.8, 0.95; three priors a cell of 19×19, the smallest halved."""
    finest, second, *_, last = SSDLite(SSDLiteConfig()).prior_maps()
    half = 0.2 / 2**0.5
    assert (finest.cells, second.cells, last.cells) == (19, 10, 1)
    assert np.allclose(finest.shapes, [(0.1, 0.1), (2 * half, half), (half, 2 * half)])
    assert np.allclose(second.shapes[:2], [(0.35, 0.35), ((0.35 * 0.5) ** 0.5,) * 2])
    assert np.allclose(last.shapes[1], (0.95**0.5,) * 2)
    # At half the size, what is to keep its pixels has twice the share; the smallest, too.
    assert np.allclose(SSDLite().prior_maps(150, in_pixels=True)[0].shapes, 2 * np.array(finest.shapes))


# Shapes


@pytest.mark.slow
def test_every_size_has_a_prior_for_every_prediction() -> None:
    with torch.device("meta"):
        network = SSDLite(SMALL).eval()
        for size in (64, 65, 95, 96, 97, 150, 299, 300, 301, 512):
            logits, offsets = network(torch.zeros(1, 3, size, size))
            expected = sum(maps.cells**2 * len(maps.shapes) for maps in network.prior_maps(size))
            assert logits.shape == offsets.shape == (1, expected, 4), size
    assert network.priors(300).shape == (1917, 4)


@pytest.mark.slow
def test_maps_go_to_the_heads_in_the_order_of_the_priors() -> None:
    network, start = small(), 0
    with torch.no_grad():
        before, _ = network(images())
        for head, priors in zip(network.heads, network.prior_maps(), strict=True):
            head.class_bias[len(priors.shapes) - 1, 0] += 1  # the background's, of the cell's last prior
            after, _ = network(images())
            head.class_bias[len(priors.shapes) - 1, 0] -= 1
            stop = start + priors.cells**2 * len(priors.shapes)
            changed = torch.nonzero((after - before).abs().amax((0, 2)) > 0.5).flatten()
            assert changed.tolist() == list(range(start, stop))[len(priors.shapes) - 1 :: len(priors.shapes)]
            start = stop


@pytest.mark.slow
def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    logits, offsets = (network := SSDLite(SMALL))(images(number=4))
    (logits.square().mean() + offsets.square().mean()).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_halving_has_torchs_outputs_and_its_gradient_in_bfloat16(cells: int) -> None:
    """Of one cell PyTorch's own gradient takes in whatever lies in the memory."""
    torch.manual_seed(0)
    ours, torchs = HalvingConv(64), nn.Conv2d(64, 64, 3, 2, 1, groups=64, bias=False)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(24, 64, cells, cells).to(memory_format=torch.channels_last)
    y = torchs(x)
    torch.testing.assert_close(ours(x), y)
    towards = torch.randn(y.shape)
    y.backward(towards)
    assert torchs.weight.grad is not None
    for _ in range(3):
        torch.full((200_000,), 1e30)  # and is freed again
        with torch.autocast("cpu", torch.bfloat16):
            found = ours(x)
        (gradient,) = torch.autograd.grad(found, ours.weight, towards.to(found.dtype))
        torch.testing.assert_close(gradient, torchs.weight.grad, rtol=0.02, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [{}, {"assignment": "atss"}, {"class_loss": "focal"}], ids=str)
def test_loss_trains_the_network(variant: dict[str, Any]) -> None:
    """The heads' loss of one object goes downhill, with matchers and losses that count a cell's priors, too."""
    torch.manual_seed(0)
    network, settings = SSDLite(SMALL), resolve_settings(None, {"model": "ssdlite-mobilenetv2", **variant})
    if settings.class_loss == "focal":
        init_heads(network.heads, LossSettings(class_loss="focal"))
        logits, _ = network(images())
        assert abs(1 - logits.softmax(-1)[..., 0].mean().item() - 0.01) < 0.005
    targets = [Target(torch.tensor([[0.2, 0.3, 0.7, 0.8]]), torch.tensor([2]))] * 2
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    values = []
    for _ in range(12):
        found = multibox_loss(*network(images()), targets, network.priors(), settings, network.prior_maps())
        loss = found.classification + found.localization
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


@pytest.mark.slow
def test_fusion_merges_every_batch_norm_and_computes_the_same(tmp_path: Path) -> None:
    network = load_network(save_small(tmp_path / "m", config=SMALL)).double()
    with torch.no_grad():
        before = network(images())
        after = fuse_conv_bn(network)(images())
    for got, expected in zip(after, before, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.slow
def test_torchvisions_weights_start_the_backbone_and_give_its_maps(tmp_path: Path) -> None:
    """All but the classifier's; the last map is torchvision's, of an image that is normalized its way."""
    torch.manual_seed(1)
    theirs = mobilenet_v2(weights=None).eval()
    network = SSDLite().eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    taken = load_partial(network.backbone, read_weights(tmp_path / "theirs.pth", network.backbone))
    assert set(taken.unused) == {"classifier.1.weight", "classifier.1.bias"} and not taken.missing
    assert not taken.replaced
    pixels = images(96, 1) / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.no_grad():
        expected = theirs.features((pixels - mean) / std)
        torch.testing.assert_close(network.features(images(96, 1))[1], expected, rtol=1e-3, atol=1e-4)


# Files, exports


@pytest.mark.slow
def test_card_and_back(tmp_path: Path) -> None:
    model = save_small(tmp_path / "m", config=SMALL)
    assert Card.load(tmp_path / "m").architecture == "ssdlite-mobilenetv2"
    assert to_config(resolve(tmp_path / "m")) == SMALL
    assert to_settings(SMALL) == {"width": 0.1, "prior_sizes": SMALL.prior_sizes}
    loaded = load_network(model)
    assert isinstance(loaded, SSDLite) and not loaded.training


def test_a_card_that_does_not_fit(tmp_path: Path) -> None:
    model = save_small(tmp_path / "m", config=SMALL)
    card = dataclasses.replace(model.card, architecture_settings={"width": 0.1, "backbone": {}})
    with pytest.raises(WeightsError, match=r"architecture_settings do not fit: .*'backbone'"):
        to_config(dataclasses.replace(model, card=card))


@pytest.mark.slow
def test_an_export_is_the_same_detector(tmp_path: Path) -> None:
    """With suppression in its graph, by way of ONNX; `export_detector` has verified it when it returns."""
    model = save_small(tmp_path / "m", config=SMALL)
    pictures = sorted(save_pictures(tmp_path / "pictures", 2).iterdir())
    made = export_detector(model, tmp_path / "exported", "openvino", DetectorCheck(pictures))
    assert made.export is not None and made.export.nms and made.export.verification["agreement"] >= 0.99
    found = [
        Detector.load(path, runtime=runtime)(pictures[0], confidence=0.01)
        for path, runtime in ((tmp_path / "m", "torch"), (tmp_path / "exported", "openvino"))
    ]
    assert len(found[0]) == len(found[1]) > 0
    np.testing.assert_allclose(*(np.sort(each.confidence) for each in found), atol=1e-3)
    assert set(found[1].data["class_name"]) <= {"a", "b", "c"}


@pytest.mark.slow
def test_it_detects_at_another_size(tmp_path: Path) -> None:
    save_small(tmp_path / "m", config=SMALL)
    (picture,) = save_pictures(tmp_path / "pictures", 1).iterdir()
    detector = Detector.load(tmp_path / "m", runtime="torch", size=77)
    assert detector.input_size == 77 and len(detector(picture, confidence=0.01)) > 0


# Errors


@pytest.mark.parametrize("size", [0, 63, -300])
def test_sizes_that_do_not_fit(size: int) -> None:
    with pytest.raises(SettingsError, match=f"input size {size} does not fit; expected at least 64"):
        SSDLiteConfig(input_size=size)
    with pytest.raises(SettingsError, match="does not fit; expected at least 64"):
        DetectionGraph(small(), size or 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; a detector needs at least 1"),
        ({"width": 0}, "width is 0; expected a multiplier above 0"),
        ({"prior_sizes": (0.2, 0.5)}, "prior_sizes has 2 sizes; expected 7"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SSDLiteConfig(**changes)


# Settings of a run


def test_its_input_size_is_its_own_unless_it_is_given() -> None:
    own = {"model": "ssdlite-mobilenetv2"}
    settings = resolve_settings("quick", own)
    assert settings.input_size == 300 and settings.network(5) == SSDLiteConfig(num_classes=5)
    assert resolve_settings("quick", {**own, "input_size": 301}).network(5).input_size == 301
    assert resolve_settings("quick", {}).input_size == 304
    assert resolve_settings("paper-coco", own).network(80) == DESIGNS["ssdlite-mobilenetv2-coco"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"input_size": 63}, "input size 63 does not fit; expected at least 64"),
        ({"size_phases": [[32, 0.5]]}, "input size 32 does not fit"),
        ({"head_kernel": 3}, "setting head_kernel is 3, a choice that ssdlite-mobilenetv2 does not have"),
        ({"use_38x38": True}, "setting use_38x38 is True"),
        ({"model": "ssd"}, "setting model: Input should be 'pelee'.* or 'ssd300-vgg16', got 'ssd'"),
    ],
)
def test_settings_that_it_does_not_have(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve_settings(None, {"model": "ssdlite-mobilenetv2", **overrides})
