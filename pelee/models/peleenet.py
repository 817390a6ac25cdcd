"""PeleeNet, the efficient DenseNet variant, and the spectrum of designs between it and DenseNet-41.

Source: Wang, Li, Ling, "Pelee: A Real-Time Object Detection System on Mobile Devices", NeurIPS 2018
(arXiv 1804.06882), section 2 and table 1. Every choice that the paper varies is a field of `PeleeNetConfig`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import Activation, ConvUnit, Normalize, concatenate

Stem = Literal["two-branch", "plain", "none"]


@dataclass(frozen=True, slots=True)
class PeleeNetConfig:
    """Design of a network of the PeleeNet family; the defaults are PeleeNet.

    Attributes:
        blocks: dense layers in each stage.
        growth_rate: channels that a dense layer adds.
        bottleneck_widths: each stage's 1×1 width, in multiples of the channels that one way adds.
        dynamic_bottleneck: narrow the 1×1 where the input is narrow (section 2.1, figure 4), so that a layer never
            computes more than it is given; False keeps the width given.
        bottleneck_channels: one width for every layer in channels, in place of `bottleneck_widths`.
        two_way: dense layers with a 3×3 way and a way of two stacked 3×3, each adding half of the growth rate.
        stem: "two-branch" (figure 2), "plain" (DenseNet's convolution and pooling with 3×3 kernels), or "none".
        stem_channels: channels that the stem gives.
        transitions: output channels of each stage's transition, None for no compression: as many as come in.
        activation: "post" for convolution, batch norm, ReLU; "pre" for batch norm, ReLU, convolution.
        dropout: drop probability before the classifier.
    """

    blocks: tuple[int, ...] = (3, 4, 8, 6)
    growth_rate: int = 32
    bottleneck_widths: tuple[int, ...] = (1, 2, 4, 4)
    dynamic_bottleneck: bool = True
    bottleneck_channels: int | None = None
    two_way: bool = True
    stem: Stem = "two-branch"
    stem_channels: int = 32
    transitions: tuple[int, ...] | None = None
    activation: Activation = "post"
    dropout: float = 0.05

    def __post_init__(self) -> None:
        """Raise `SettingsError` for settings that name no design."""
        for name, known in (("stem", get_args(Stem)), ("activation", get_args(Activation))):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")
        stages = len(self.blocks)
        for name in ("blocks", "bottleneck_widths", "transitions"):
            numbers = getattr(self, name)
            if numbers is not None and (len(numbers) < max(1, stages) or min(numbers) < 1):
                raise SettingsError(f"{name} is {numbers}; expected at least 1 for each of {stages} stages")
        for name, least in (("growth_rate", 1 + self.two_way), ("stem_channels", 2), ("bottleneck_channels", 1)):
            if (number := getattr(self, name)) is not None and number < least:
                raise SettingsError(f"{name} is {number}; expected at least {least}")
        if self.two_way and self.growth_rate % 2:
            raise SettingsError(f"growth_rate is {self.growth_rate}; expected an even one, half of it for each way")
        if not 0 <= self.dropout <= 1:
            raise SettingsError(f"dropout is {self.dropout}; expected a probability, 0 to 1")


class FeatureInfo(NamedTuple):
    """Feature map of the backbone: its name, its channels, and its stride in input pixels."""

    name: str
    channels: int
    stride: int


class TwoBranchStem(nn.Module):
    """Stem block: (N, 3, H, W) -> (N, C, H/4, W/4) by a strided convolution and two branches (figure 2)."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.stem1 = ConvUnit(3, channels, 3, 2, 1, activation=activation)
        self.stem2a = ConvUnit(channels, channels // 2, 1, activation=activation)
        self.stem2b = ConvUnit(channels // 2, channels, 3, 2, 1, activation=activation)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.stem3 = ConvUnit(2 * channels, channels, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem1(x)  # (N, C, H/2, W/2)
        x = concatenate([self.pool(x), self.stem2b(self.stem2a(x))])  # (N, 2C, H/4, W/4)
        return self.stem3(x)


class DenseLayer(nn.Module):
    """Dense layer: (N, C, H, W) -> (N, C + growth, H, W), the input first (figure 1)."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int, two_way: bool, activation: Activation) -> None:
        super().__init__()
        way = growth // 2 if two_way else growth
        self.branch1 = nn.Sequential(
            ConvUnit(in_channels, bottleneck, 1, activation=activation),
            ConvUnit(bottleneck, way, 3, padding=1, activation=activation),
        )
        self.branch2 = (
            nn.Sequential(
                ConvUnit(in_channels, bottleneck, 1, activation=activation),
                ConvUnit(bottleneck, way, 3, padding=1, activation=activation),
                ConvUnit(way, way, 3, padding=1, activation=activation),
            )
            if two_way
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        ways = [x, self.branch1(x)]
        if self.branch2 is not None:
            ways.append(self.branch2(x))
        return concatenate(ways)


class PeleeNet(nn.Module):
    """PeleeNet as a classifier, and as the feature extractor below a detector.

    Args:
        num_classes: classes of the classifier; 0 builds none.
        config: the network's design.

    Shapes: (N, 3, H, W) RGB in 0 to 255 -> (N, num_classes) logits.
    """

    def __init__(self, num_classes: int = 1000, config: PeleeNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PeleeNetConfig()
        self.normalize = Normalize()
        channels, stride = config.stem_channels, 4
        if config.stem == "two-branch":
            self.stem: nn.Module = TwoBranchStem(channels, config.activation)
        elif config.stem == "plain":
            self.stem = nn.Sequential(
                ConvUnit(3, channels, 3, 2, 1, activation=config.activation), nn.MaxPool2d(3, 2, 1)
            )
        else:
            self.stem, channels, stride = nn.Identity(), 3, 1

        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        self.feature_info: list[FeatureInfo] = []
        for index, layers in enumerate(config.blocks):
            stage = nn.Sequential()
            for _ in range(layers):
                bottleneck = self._bottleneck(config, index, channels)
                stage.append(DenseLayer(channels, config.growth_rate, bottleneck, config.two_way, config.activation))
                channels += config.growth_rate
            out_channels = config.transitions[index] if config.transitions else channels
            self.stages.append(stage)
            self.transitions.append(ConvUnit(channels, out_channels, 1, activation=config.activation))
            channels = out_channels
            self.feature_info.append(FeatureInfo(f"stage{index + 1}", channels, stride))
            stride *= 2
        # Rounded up, so that a 19×19 map halves to 10×10 as in the paper's detector; even maps are the same.
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.classifier = (
            nn.Sequential(nn.Dropout(config.dropout), nn.Linear(channels, num_classes)) if num_classes else None
        )
        self._initialize()

    @staticmethod
    def _bottleneck(config: PeleeNetConfig, stage: int, in_channels: int) -> int:
        """Channels of a dense layer's 1×1 convolutions."""
        if config.bottleneck_channels is not None:
            return config.bottleneck_channels
        way = config.growth_rate // 2 if config.two_way else config.growth_rate
        width = way * config.bottleneck_widths[stage]
        if config.dynamic_bottleneck and width > in_channels // 2:
            width = max(4, in_channels // 8 * 4)  # never none, as a 3-channel input would give
        return width

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the maps of `features`."""
        return tuple(info.channels for info in self.feature_info)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of the maps of `features`."""
        return tuple(info.stride for info in self.feature_info)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each stage's map before its pooling, as in `feature_info`: (N, C, H/stride, W/stride), rounded up."""
        x = self.stem(self.normalize(images))
        maps = []
        for index, (stage, transition) in enumerate(zip(self.stages, self.transitions, strict=True)):
            if index:
                x = self.pool(x)
            x = transition(stage(x))
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        if self.classifier is None:
            raise RuntimeError("this PeleeNet was built without a classifier: call features()")
        return self.classifier(self.features(images)[-1].mean((2, 3)))


def _spectrum() -> dict[str, PeleeNetConfig]:
    m6 = PeleeNetConfig()
    m5 = replace(m6, blocks=(3, 4, 8, 3), transitions=(128, 256, 512, 704))
    m4 = replace(m5, two_way=False, growth_rate=16, activation="pre")
    m3 = replace(m4, stem="none", dynamic_bottleneck=False)
    return {
        "peleenet-m0": replace(m3, bottleneck_channels=64, transitions=(64, 128, 256, 352)),
        "peleenet-m1": replace(m3, bottleneck_channels=32),
        "peleenet-m2": replace(m3, bottleneck_channels=16, activation="post"),
        "peleenet-m3": m3,
        "peleenet-m4": m4,
        "peleenet-m5": m5,
        "peleenet-m6": m6,
    }


# The path of table 1 as a report rebuilt it in seven models, from DenseNet-41 to PeleeNet; its parameter counts are
# the proof of the settings (tests/pelee/test_peleenet.py).
SPECTRUM = _spectrum()


def peleenet(num_classes: int = 1000, **settings: Any) -> PeleeNet:
    """Build a PeleeNet classifier; the settings are those of `PeleeNetConfig`."""
    return spectrum("peleenet-m6", num_classes, **settings)


def spectrum(name: str, /, num_classes: int = 1000, **settings: Any) -> PeleeNet:
    """Build a classifier of `SPECTRUM` by name; `settings`, those of `PeleeNetConfig`, override the named design's.

    Raises:
        TypeError: a setting that the family lacks.
        SettingsError: one that is out of range.
    """
    return PeleeNet(num_classes, replace(SPECTRUM[name], **settings))
