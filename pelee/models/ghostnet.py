"""GhostNet with the choices of a study on 196 makes of cars: input channels, dropout, width of the last layer.

Source: Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020 (arXiv 1911.11907), as timm keeps it;
P. Chaberski, "Lightweight neural architectures by example - car model classification using GhostNet", 2020, for what
differs from it: squeeze-and-excitation of a quarter of the channels, rounded down, and a last layer with batch norm.
"""

from typing import Any

from torch import nn

from data.errors import SettingsError
from pelee.models.layers import check_share, initialize
from pelee.models.torchvision_timm import LibraryNetwork


def ghostnet(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, last_width: int = 1280
) -> LibraryNetwork:
    """GhostNet 1.0×: (N, 3, H, W) RGB in 0 to 255 -> (N, num_classes) logits.

    With 196 classes and RGB input it has 2,670,852 + 1,158 a channel of the last layer: 960 weights, the batch norm's
    two, and 196 weights. The study's table rounds that to tens: 4,153,090 at 1280, 3,041,410 at 320.

    Args:
        in_channels: 3, or 1 to convert the image to grey.
        dropout: drop probability before the classifier.
        last_width: channels of the layer before the classifier.
    """
    import timm

    if in_channels not in (1, 3):
        raise SettingsError(f"in_channels is {in_channels}; expected 3 for colour or 1 for grey")
    if last_width < 1:
        raise SettingsError(f"last_width is {last_width}; expected at least 1")
    network: Any = timm.create_model(
        "ghostnet_100",
        pretrained=False,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=check_share("dropout", dropout),
    )
    for module in network.modules():
        if hasattr(module, "conv_reduce"):  # a squeeze-and-excitation; timm rounds its width to a multiple of 4
            channels = module.conv_reduce.in_channels
            module.conv_reduce = nn.Conv2d(channels, channels // 4, 1)
            module.conv_expand = nn.Conv2d(channels // 4, channels, 1)
    features = network.conv_head.in_channels
    # Follows the global pooling, so that it is a linear layer; its ReLU is timm's act2.
    network.conv_head = nn.Sequential(nn.Conv2d(features, last_width, 1, bias=False), nn.BatchNorm2d(last_width))
    network.head_hidden_size = last_width
    network.classifier = nn.Linear(last_width, num_classes)
    initialize(network)
    return LibraryNetwork(network, grey=in_channels == 1)
