"""Detector network interface: `DetectorNetwork` and `DetectorConfig`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from detection.models.priors import PriorMap, generate_priors
from detection.models.registry import ARCHITECTURES

NUM_HEADS = 6


class DetectorConfig(Protocol):
    """Config of a network: a frozen dataclass of plain values, as stored in a model card.

    Attributes:
        architecture: name in model cards and settings, a key of `detection.models.registry.ARCHITECTURES`.
        num_classes: object classes, without the background.
        input_size: side of the square input in pixels.
        prior_sizes: smallest prior of each head as a fraction of the input, then the largest of the last head.
    """

    architecture: ClassVar[str]

    @property
    def num_classes(self) -> int: ...

    @property
    def input_size(self) -> int: ...

    @property
    def prior_sizes(self) -> tuple[float, ...]: ...

    @classmethod
    def from_card(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """Config from the architecture_settings of a card. Raises TypeError or KeyError for unknown or missing keys."""
        ...

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """Config from training settings: those that the architecture's descriptor names, by name."""
        ...


class PlainConfig:
    """Base of the configs whose fields are plain values: both constructors of `DetectorConfig`."""

    __slots__ = ()

    @classmethod
    def from_card(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """See `DetectorConfig.from_card`."""
        return cls(num_classes=num_classes, input_size=input_size, **settings)  # type: ignore[call-arg]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """See `DetectorConfig.from_settings`; the published priors are the same for VOC and COCO."""
        return cls(num_classes=num_classes, input_size=input_size)  # type: ignore[call-arg]


def check_config(config: DetectorConfig, heads: int = NUM_HEADS) -> None:
    """Raise SettingsError for an invalid input size, class count or number of prior sizes for so many heads."""
    ARCHITECTURES[config.architecture].check_input_size(config.input_size)
    if config.num_classes < 1:
        raise SettingsError(f"num_classes is {config.num_classes}; a detector needs at least 1")
    if len(config.prior_sizes) != heads + 1:
        raise SettingsError(
            f"prior_sizes has {len(config.prior_sizes)} sizes; expected {heads + 1}, one per head and the largest"
        )


class DetectorNetwork(nn.Module, ABC):
    """Base class of detector networks: a backbone and heads that predict relative to priors.

    Shapes: (N, 3, S, S) RGB in 0 to 255, uint8 or floating -> class logits (N, P, num_classes + 1), background first,
    and box offsets (N, P, 4) from the P priors. The outputs are the same in training and evaluation mode.

    Attributes:
        config: the architecture settings.
        backbone: initialized from classifier weights; trained at `backbone_lr`.
        heads: `detection.models.heads.Head` modules, in the order of the priors.
        feature_channels: channels of the last two `features`, strides 16 and 32, used for feature distillation.
        log_limit: largest logarithm of a box's size relative to its prior in the decoding; None for no limit.
    """

    log_limit: ClassVar[float | None] = None

    config: DetectorConfig
    backbone: nn.Module
    heads: nn.ModuleList
    feature_channels: tuple[int, int]

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Backbone feature maps (N, C, ceil(S/stride), ceil(S/stride)); the last two have strides 16 and 32."""

    @abstractmethod
    def forward_head(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits and box offsets, as in `forward`, from the maps of `features`."""

    @abstractmethod
    def make_prior_maps(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        """Prior map of each head for an input side in pixels and sizes as in `prior_sizes`."""

    def apply_heads(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits and box offsets, as in `forward`, of one map for each head."""
        logits, offsets = zip(*(head(m) for head, m in zip(self.heads, maps, strict=True)), strict=True)
        return torch.cat(logits, 1), torch.cat(offsets, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_head(self.features(images))

    def prior_maps(self, input_size: int | None = None, in_pixels: bool = False) -> tuple[PriorMap, ...]:
        """Prior map of each head for `input_size`, by default the configured size.

        At other input sizes, priors keep their size relative to the input, or with `in_pixels` their size in pixels
        (a convolution responds to the size of an object in pixels, independent of the input size).
        """
        architecture = ARCHITECTURES[self.config.architecture]
        size = architecture.check_input_size(input_size or self.config.input_size)
        sizes = self.config.prior_sizes
        if in_pixels:
            sizes = tuple(share * self.config.input_size / size for share in sizes)
        return self.make_prior_maps(size, sizes)

    def priors(self, input_size: int | None = None, in_pixels: bool = False) -> Tensor:
        """Priors (P, 4) cxcywh, relative to the input; arguments as in `prior_maps`."""
        return generate_priors(self.prior_maps(input_size, in_pixels))
