"""Networks of the registry under test: built without numbers, counted, and images to run them on."""

import torch
from torch import Tensor, nn

from pelee.models.registry import MODELS, build
from pelee.models.torchvision_timm import LibraryNetwork

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def random_images(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def on_meta(name: str, num_classes: int = 1000, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, num_classes, settings)


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def inside(network: nn.Module) -> nn.Module:
    assert isinstance(network, LibraryNetwork)
    return network.network


def published_on_meta(name: str) -> nn.Module:
    """The published network without numbers: shapes and counts are there, and nothing is computed."""
    with torch.device("meta"):
        return MODELS[name].build().eval()


def weighted(network: nn.Module) -> list[int]:
    """Weights and biases of each convolution and dense layer, in their order."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
