"""Inference model of a classifier: normalization, network and softmax in one module."""

from torch import Tensor, nn


class ClassificationGraph(nn.Module):
    """A classifier as the runtimes execute it: (N, S, S, 3) uint8 RGB -> (N, C) probabilities, float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images.permute(0, 3, 1, 2)).float().softmax(-1),)
