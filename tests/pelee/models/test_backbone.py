"""Backbones of detectors: libraries' networks, and one from outside."""

import pytest
import torch
from torch import Tensor, nn

from data.errors import SettingsError
from detection.models.pelee import Pelee, PeleeConfig
from pelee.models.registry import BACKBONES, create_backbone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenetv3_large_100", (40, 112, 960)),
        ("regnet_y_400mf", (104, 208, 440)),  # of torchvision
        ("peleenet", (128, 256, 512, 704)),
        ("densenet121", (512, 1024, 1024)),  # poolings that round down as published
    ],
)
def test_maps_are_rounded_up(name: str, channels: tuple[int, ...]) -> None:
    backbone = create_backbone(name).eval()
    assert backbone.feature_channels == channels
    with torch.no_grad():
        maps = backbone.features(torch.zeros(1, 3, 304, 304))
    cells = [(-(-304 // stride),) * 2 for stride in backbone.strides]
    assert [(m.shape[1], *m.shape[2:]) for m in maps] == [(c, *s) for c, s in zip(channels, cells, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenetv3_lage_100", "no backbone 'mobilenetv3_lage_100' in timm or torchvision; .*mobilenetv3_large_100"),
        ("squeezenet1_1", "a detector needs 16 and 32"),
        ("convnext_tiny", "do not round up. Of torchvision, .*ConvNeXt, .* do not fit"),
        ("vit_b_16", "does not take an input of 80 pixels. Of torchvision, .*ViT do not fit"),
        ("hrnet_w18_small", "does not take an input of 80 pixels"),
    ],
)
def test_unsuitable_backbones_are_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_backbone(name)


@pytest.mark.slow
def test_pelee_on_a_library_backbone_trains() -> None:
    network = Pelee(PeleeConfig(num_classes=2, input_size=64, backbone_model="mobilenetv3_large_100"))
    logits, offsets = network(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, len(network.priors()), 3) and offsets.shape == (2, len(network.priors()), 4)
    (logits.sum() + offsets.sum()).backward()
    assert network.backbone.network.conv_stem.weight.grad is not None


class HalvingBackbone(nn.Module):
    feature_channels = (4, 8)
    strides = (16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 16, 16), nn.Conv2d(4, 8, 3, 2, 1)

    def features(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images.float())
        return [x, self.last(x)]


def test_backbone_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "halving", HalvingBackbone)
    network = Pelee(PeleeConfig(num_classes=2, input_size=64, backbone_model="halving")).eval()
    logits, _ = network(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, len(network.priors()), 3)
    with pytest.raises(SettingsError, match="halving has no feature map of stride 8"):
        Pelee(PeleeConfig(input_size=64, backbone_model="halving", use_38x38=True))
