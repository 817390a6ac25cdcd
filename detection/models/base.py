"""What the trainer, the files, the exports and the tables ask of a detector's network, whichever it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor, nn

from data.errors import SettingsError
from detection.models.priors import PriorMap, place_priors

SMALLEST_INPUT = 64
HEADS = 6


class DetectorConfig(Protocol):
    """What makes one network: a frozen dataclass of plain values, which a card can hold.

    Attributes:
        architecture: its name on a card and in the settings.
        input_multiple: what the sides of its inputs are multiples of.
        num_classes: classes of objects, background not counted.
        input_size: side of the square input that it is meant for, in pixels.
        prior_sizes: each head's smallest prior as a share of the input, and the last one's largest.
    """

    architecture: ClassVar[str]
    input_multiple: ClassVar[int]

    @property
    def num_classes(self) -> int: ...

    @property
    def input_size(self) -> int: ...

    @property
    def prior_sizes(self) -> tuple[float, ...]: ...

    @classmethod
    def from_card(cls, settings: Mapping[str, Any], num_classes: int, input_size: int) -> Self:
        """The config from a card's architecture_settings; TypeError or KeyError where they do not fit."""
        ...


def check_input_size(size: int, multiple: int) -> int:
    """Return `size`, in pixels, if a network whose inputs are multiples of `multiple` takes it, else SettingsError."""
    if size < SMALLEST_INPUT or size % multiple:
        wanted = f"a multiple of {multiple}, " if multiple > 1 else ""
        raise SettingsError(f"input size {size} does not fit; expected {wanted}at least {SMALLEST_INPUT}")
    return size


def check_config(config: DetectorConfig) -> None:
    """Raise SettingsError for what no network can be built with."""
    check_input_size(config.input_size, config.input_multiple)
    if config.num_classes < 1:
        raise SettingsError(f"num_classes is {config.num_classes}; a detector needs at least 1")
    if len(config.prior_sizes) != HEADS + 1:
        raise SettingsError(
            f"prior_sizes has {len(config.prior_sizes)} sizes; expected {HEADS + 1}, one a head and the largest"
        )


class DetectorNetwork(nn.Module, ABC):
    """A detector's network: a backbone, and heads that predict against priors.

    Shapes: (N, 3, S, S) RGB in 0 to 255, uint8 or floating -> class logits (N, P, num_classes + 1), background first,
    and box offsets (N, P, 4) from the P priors. The same in training and in evaluation.

    Attributes:
        config: its design.
        backbone: what a classifier's weights can start, and `backbone_lr` applies to.
        heads: `detection.models.heads.Head`s, in the order of the priors.
        map_channels: channels of the last two of the `features`, of strides 16 and 32: what a teacher teaches.
    """

    config: DetectorConfig
    backbone: nn.Module
    heads: nn.ModuleList
    map_channels: tuple[int, int]

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps, the last two of them of strides 16 and 32: (N, C, S/stride, S/stride), rounded up."""

    @abstractmethod
    def predict(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` returns, from what `features` gives."""

    @abstractmethod
    def lay_out(self, input_size: int, sizes: tuple[float, ...]) -> tuple[PriorMap, ...]:
        """Each head's priors, for an input of so many pixels a side and sizes as `prior_sizes`."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.predict(self.features(images))

    def prior_maps(self, input_size: int | None = None, in_pixels: bool = False) -> tuple[PriorMap, ...]:
        """Each head's priors, for an input of `input_size` or of the configured size.

        At another size than the configured one they keep their share of the input, or, `in_pixels`, their size in
        pixels: what a convolution has learnt to tell is how many pixels an object has, whatever the input's size.
        """
        size = check_input_size(input_size or self.config.input_size, self.config.input_multiple)
        sizes = self.config.prior_sizes
        if in_pixels:
            sizes = tuple(share * self.config.input_size / size for share in sizes)
        return self.lay_out(size, sizes)

    def priors(self, input_size: int | None = None, in_pixels: bool = False) -> Tensor:
        """(P, 4) priors, cxcywh, relative to the input; the arguments are those of `prior_maps`."""
        return place_priors(self.prior_maps(input_size, in_pixels))
