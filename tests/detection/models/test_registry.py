"""Registry of architectures: descriptors, and an architecture added from outside."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

from data.datasets.records import Dataset
from data.errors import SettingsError
from detection.models.heads import PredictionHead
from detection.models.network import DetectorNetwork, check_config
from detection.models.priors import COCO_SIZES, VOC_SIZES, PriorMap, ssd_maps
from detection.models.registry import ARCHITECTURES, Architecture, build, published_designs
from detection.training.settings import TrainSettings, resolve_settings
from detection.training.train import train

STRIDES = (16, 32, 64, 64, 64, 64)


@dataclass(frozen=True, slots=True)
class PoolingConfig:
    """Config of the outside network."""

    architecture: ClassVar[str] = "pooling"

    num_classes: int = 3
    input_size: int = 64
    head_kernel: int = 1
    prior_sizes: tuple[float, ...] = VOC_SIZES

    def __post_init__(self) -> None:
        check_config(self)

    @classmethod
    def from_card(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        return cls(num_classes=num_classes, input_size=input_size, **settings)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        return cls(num_classes=num_classes, input_size=input_size, **settings)


class PoolingDetector(DetectorNetwork):
    """One convolution, average pooling to each stride, and a head on each map."""

    config: PoolingConfig
    backbone: nn.Conv2d

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.Conv2d(3, 8, 1)
        self.feature_channels = (8, 8)
        self.heads = nn.ModuleList(PredictionHead(8, config.num_classes + 1, config.head_kernel) for _ in STRIDES)

    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        return ssd_maps(tuple(input_size // stride for stride in STRIDES), sizes)

    def features(self, images: Tensor) -> list[Tensor]:
        x = self.backbone(images / 255)
        return [nn.functional.avg_pool2d(x, stride) for stride in (16, 32)]

    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = features + [nn.functional.avg_pool2d(features[1], 2)] * 4
        logits, offsets = zip(*(head(m) for head, m in zip(self.heads, maps, strict=True)), strict=True)
        return torch.cat(logits, 1), torch.cat(offsets, 1)


@pytest.fixture
def pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Architecture(
        f"{__name__}:PoolingConfig", f"{__name__}:PoolingDetector", 64, input_multiple=64, settings=("head_kernel",)
    )
    monkeypatch.setitem(ARCHITECTURES, "pooling", entry)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quiet_lightning", "pooling")
def test_architecture_from_outside_trains(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    overrides = {"model": "pooling", "head_kernel": 3, "max_steps": 2, "batch_size": 4, "precision": "fp32"}
    settings = resolve_settings(None, overrides)
    assert settings.input_size == 64
    network = build(settings.network(3))
    assert isinstance(network, PoolingDetector) and network.config == PoolingConfig(head_kernel=3)
    before = network.backbone.weight.clone()
    train(network, settings, train_set, val_set, tmp_path, accelerator="cpu", progress=False)
    assert not torch.equal(network.backbone.weight, before)


@pytest.mark.usefixtures("pooling")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"input_size": 96}, "input size 96 does not fit; expected a multiple of 64, at least 64"),
        ({"res_blocks": False}, "setting res_blocks is False, a choice that pooling does not have"),
        ({"prior_sizes": "coco"}, "setting prior_sizes is coco, a choice that pooling does not have"),
    ],
)
def test_settings_that_do_not_fit_the_architecture(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve_settings(None, {"model": "pooling", **overrides})


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_descriptors_fit_their_classes(name: str) -> None:
    entry = ARCHITECTURES[name]
    config = TrainSettings(model=name, input_size=entry.input_size).network(20)
    assert config == entry.config_class()() and config.architecture == name


def test_published_designs() -> None:
    designs = published_designs()
    assert designs["pelee-coco"].prior_sizes == COCO_SIZES
    assert {config.architecture for config in designs.values()} == set(ARCHITECTURES)


@pytest.mark.slow
def test_settings_are_resolved_without_torch() -> None:
    code = "from detection.training.settings import resolve_settings as r\nr('quick', {})\nimport sys\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
