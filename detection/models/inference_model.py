"""Inference model of a detector: normalization, network, softmax and box decoding in one module."""

from torch import Tensor, nn

from detection.models.box_coder import decode
from detection.models.network import DetectorNetwork


class DetectionGraph(nn.Module):
    """Network with normalization, softmax and box decoding, as exported and executed by the runtimes.

    Shapes: (N, S, S, 3) uint8 RGB -> scores (N, P, C) of the object classes, 0 to 1, without background, and boxes
    (N, P, 4) xyxy relative to the input, unclipped. For `input_size` and `in_pixels` see `DetectorNetwork.prior_maps`.
    """

    def __init__(self, network: DetectorNetwork, input_size: int | None = None, in_pixels: bool = False) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("priors", network.priors(input_size, in_pixels), persistent=False)
        self.priors: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets = self.network(images.permute(0, 3, 1, 2))
        scores = logits.float().softmax(-1)[..., 1:]
        return scores, decode(offsets.float(), self.priors, self.network.log_limit)
