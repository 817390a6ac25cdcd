"""Classifiers of torchvision and timm with input normalization inside; nothing is downloaded.

Each builder takes the number of classes and the settings that the library has for the network, dropout before all.
torchvision comes first, timm where torchvision lacks the network (MobileNet V1, NASNet-A); both are imported when a
network is built. Names of the tensors are the library's, after `network.`: its published weights are read by
`pelee.models.pretrained.read_weights`.
"""

from typing import Any

from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import Normalize, check_share


class LibraryNetwork(nn.Module):
    """Adapter of a library's classifier to the input and output of Pelee's networks.

    Args:
        network: takes (N, 3, S, S), or (N, 1, S, S) where `grey`, and gives (N, K) logits; in training mode it may
            give auxiliary logits beside them.
        smallest: least side in pixels that the network can take.
        smallest_training: the same in training mode, where that is more.
        grey: convert the image to grey (ITU-R BT.601) before its normalization, which then takes the mean of the
            three channels' statistics.

    Shapes: (N, 3, H, W) RGB in 0 to 255 -> (N, K) logits; with an auxiliary classifier, in training mode, a pair of
    them: (logits, auxiliary logits). SettingsError for an image that is too small.
    """

    def __init__(
        self, network: nn.Module, smallest: int = 1, smallest_training: int = 1, *, grey: bool = False
    ) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.network = network
        self.smallest = smallest
        self.smallest_training = max(smallest, smallest_training)
        self.grey = Normalize((0, 0, 0), (1, 1, 1), grey=True) if grey else None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        smallest = self.smallest_training if self.training else self.smallest
        if min(images.shape[-2:]) < smallest:
            height, width = images.shape[-2:]
            raise SettingsError(
                f"an input of {width}×{height} pixels is too small for {type(self.network).__name__}"
                f"{' in training' if self.training else ''}; take at least {smallest}"
            )
        x = self.normalize(images) if self.grey is None else self.normalize(self.grey(images)).mean(1, keepdim=True)
        outputs = self.network(x)
        return tuple(outputs) if isinstance(outputs, tuple) else outputs  # no named tuple: exporters know none


def _torchvision(
    name: str, num_classes: int, smallest: int = 1, smallest_training: int = 1, **settings: Any
) -> nn.Module:
    import torchvision

    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **settings)
    return LibraryNetwork(network, smallest, smallest_training)


def _timm(name: str, num_classes: int, dropout: float) -> nn.Module:
    import timm

    network = timm.create_model(
        name, pretrained=False, num_classes=num_classes, drop_rate=check_share("dropout", dropout)
    )
    return LibraryNetwork(network)


def squeezenet(num_classes: int = 1000, dropout: float = 0.5) -> nn.Module:
    """SqueezeNet 1.1 (Iandola et al. 2016): 1,235,496 parameters. Its classifier is a convolution, then averaged."""
    return _torchvision("squeezenet1_1", num_classes, 17, dropout=check_share("dropout", dropout))


def efficientnet_b0(num_classes: int = 1000, dropout: float = 0.2, stochastic_depth: float = 0.2) -> nn.Module:
    """EfficientNet-B0 (Tan and Le 2019): 5,288,548 parameters.

    stochastic_depth: probability that an image leaves out the last block; earlier ones have a smaller one.
    """
    return _torchvision(
        "efficientnet_b0",
        num_classes,
        dropout=check_share("dropout", dropout),
        stochastic_depth_prob=check_share("stochastic_depth", stochastic_depth),
    )


def mobilenet_v1(num_classes: int = 1000, dropout: float = 0.0) -> nn.Module:
    """MobileNet V1 (Howard et al. 2017): 4,231,976 parameters; timm's."""
    return _timm("mobilenetv1_100", num_classes, dropout)


def mobilenet_v2(num_classes: int = 1000, dropout: float = 0.2, width: float = 1.0) -> nn.Module:
    """MobileNet V2 (Sandler et al. 2018): 3,504,872 parameters. width: multiplies every layer's channels."""
    if width <= 0:
        raise SettingsError(f"width is {width}; expected more than 0, 1 for the published network")
    return _torchvision("mobilenet_v2", num_classes, dropout=check_share("dropout", dropout), width_mult=width)


def shufflenet_v2(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """ShuffleNet V2 (Ma et al. 2018): 2,278,604 parameters at width 1. width: 0.5, 1, 1.5 or 2."""
    names = {0.5: "x0_5", 1.0: "x1_0", 1.5: "x1_5", 2.0: "x2_0"}
    if width not in names:
        raise SettingsError(f"width is {width}; expected one of {', '.join(f'{known:g}' for known in names)}")
    return _torchvision(f"shufflenet_v2_{names[width]}", num_classes)


def vgg16(num_classes: int = 1000, dropout: float = 0.5, batch_norm: bool = False) -> nn.Module:
    """VGG16 (Simonyan and Zisserman 2014), configuration D: 138,357,544 parameters."""
    name = "vgg16_bn" if batch_norm else "vgg16"
    return _torchvision(name, num_classes, 32, dropout=check_share("dropout", dropout))


def nasnet_a(num_classes: int = 1000, dropout: float = 0.0) -> nn.Module:
    """NASNet-A (6 @ 4032) (Zoph et al. 2018): 88.9 million parameters in its table 2, 88,753,150 in timm's."""
    return _timm("nasnetalarge", num_classes, dropout)


def densenet(depth: int, /, num_classes: int = 1000, dropout: float = 0.0) -> nn.Module:
    """DenseNet-121, -161, -169 or -201 (Huang et al. 2017). dropout: after every dense layer.

    Parameters: 7,978,856, 28,681,000, 14,149,480, 20,013,928.
    """
    return _torchvision(f"densenet{depth}", num_classes, 29, drop_rate=check_share("dropout", dropout))


def inception_v3(num_classes: int = 1000, dropout: float = 0.5, auxiliary: bool = True) -> nn.Module:
    """Inception V3 (Szegedy et al. 2016): 27,161,264 parameters, 3,326,696 of them the auxiliary classifier's.

    auxiliary: with the auxiliary classifier, on the last 17×17 map; it needs images of 299 pixels in training.
    """
    least = 299 if auxiliary else 75
    return _torchvision(
        "inception_v3",
        num_classes,
        75,
        least,
        dropout=check_share("dropout", dropout),
        aux_logits=auxiliary,
        init_weights=True,
    )
