"""Registry of classification networks and of detector backbones by name."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from torch import nn

from data.errors import SettingsError, did_you_mean
from pelee.models import torchvision_timm as library
from pelee.models.cifar import AlexNet32, Cnn795K
from pelee.models.ghostnet import ghostnet
from pelee.models.hardnet import hardnet
from pelee.models.layers import Normalize
from pelee.models.peleenet import SPECTRUM, PeleeNet, peleenet, spectrum
from pelee.models.squeezenext import squeezenext
from pelee.models.tiny_densenet import TinyDenseNet1, TinyDenseNet2


class Entry(NamedTuple):
    """Registry entry of a classification network.

    Attributes:
        build: function (num_classes, **settings) -> network; without arguments it builds the published network.
        input_size: design input side in pixels; parameters and multiply-adds are counted at it.
    """

    build: Callable[..., nn.Module]
    input_size: int = 224


MODELS: dict[str, Entry] = {
    "peleenet": Entry(peleenet),
    **{name: Entry(partial(spectrum, name)) for name in SPECTRUM},
    "tiny-densenet-1": Entry(TinyDenseNet1, 64),
    "tiny-densenet-2": Entry(TinyDenseNet2, 64),
    "cnn-795k": Entry(Cnn795K, 32),
    "cnn-795k-corrected": Entry(partial(Cnn795K, corrected=True), 32),
    "alexnet-32": Entry(AlexNet32, 32),
    "ghostnet": Entry(ghostnet),
    "squeezenet": Entry(library.squeezenet),
    "squeezenext": Entry(squeezenext, 227),
    "efficientnet-b0": Entry(library.efficientnet_b0),
    "mobilenet-v1": Entry(library.mobilenet_v1),
    "mobilenet-v2": Entry(library.mobilenet_v2),
    "shufflenet-v2": Entry(library.shufflenet_v2),
    "hardnet": Entry(hardnet),
    "vgg16": Entry(library.vgg16),
    "nasnet-a": Entry(library.nasnet_a, 331),
    **{f"densenet-{depth}": Entry(partial(library.densenet, depth)) for depth in (121, 161, 169, 201)},
    "inception-v3": Entry(library.inception_v3, 299),
}


def build(name: str, num_classes: int, settings: Mapping[str, object]) -> nn.Module:
    """Build a classification network by name, with random weights.

    Args:
        name: a name of `MODELS`.
        num_classes: number of classes.
        settings: arguments of the architecture, and `normalization`: arguments of `Normalize`, for every network.

    Raises:
        SettingsError: an unknown name, or settings that the network does not have or cannot be built with.
    """
    choose([name], MODELS)
    own = {key: value for key, value in settings.items() if key != "normalization"}
    try:
        network = MODELS[name].build(num_classes, **own)
        if normalization := settings.get("normalization"):
            network.normalize = Normalize(**normalization)  # type: ignore[arg-type]
    except TypeError as error:
        raise SettingsError(f"settings that {name} cannot be built with: {error}") from error
    return network


#: Backbones of detectors by name; networks of timm and torchvision need no entry.
BACKBONES: dict[str, Callable[[], nn.Module]] = {"peleenet": partial(PeleeNet, 0)}


def create_backbone(name: str) -> nn.Module:
    """Build a detector's backbone, a `pelee.models.backbone.Backbone`, with random weights.

    Args:
        name: a name of `BACKBONES`, or of a network of timm or torchvision, such as "mobilenetv3_large_100".

    Raises:
        SettingsError: an unknown name, or a network without feature maps of strides 16 and 32.
    """
    if name in BACKBONES:
        return BACKBONES[name]()
    from pelee.models.backbone import LibraryBackbone

    return LibraryBackbone(name)


def choose(names: Iterable[str], known: Mapping[str, object]) -> list[str]:
    """Return the names, all known ones if there are none; `SettingsError` with a suggestion for an unknown name."""
    names = list(names) or list(known)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
            raise SettingsError(f"no model {name!r}; {hint}")
    return names
