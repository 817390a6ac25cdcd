"""Boxes against priors: SSD's encoding (Liu et al. 2016, equation 2, with the variances of its code)."""

import torch
from torch import Tensor
from torchvision.ops import box_convert

CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Offsets of boxes from priors: (..., 4) xyxy and (..., 4) cxcywh, both relative -> (..., 4).

    Boxes must have a positive width and height.
    """
    boxes = box_convert(boxes, "xyxy", "cxcywh")
    centre = (boxes[..., :2] - priors[..., :2]) / (priors[..., 2:] * CENTRE_VARIANCE)
    size = torch.log(boxes[..., 2:] / priors[..., 2:]) / SIZE_VARIANCE
    return torch.cat([centre, size], -1)


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """The inverse of `encode`: (..., 4) offsets and (..., 4) cxcywh priors -> (..., 4) xyxy, relative."""
    centre = priors[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * priors[..., 2:]
    half = priors[..., 2:] * torch.exp(offsets[..., 2:] * SIZE_VARIANCE) / 2
    return torch.cat([centre - half, centre + half], -1)
