"""Box coder of SSD (Liu et al. 2016, equation 2, with the variances of the authors' code)."""

import torch
from torch import Tensor
from torchvision.ops import box_convert

CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Offsets of boxes relative to priors: (..., 4) xyxy and (..., 4) cxcywh, both relative -> (..., 4).

    Box widths and heights must be positive.
    """
    boxes = box_convert(boxes, "xyxy", "cxcywh")
    center = (boxes[..., :2] - priors[..., :2]) / (priors[..., 2:] * CENTER_VARIANCE)
    size = torch.log(boxes[..., 2:] / priors[..., 2:]) / SIZE_VARIANCE
    return torch.cat([center, size], -1)


def decode(offsets: Tensor, priors: Tensor, log_limit: float | None = None) -> Tensor:
    """Inverse of `encode`: (..., 4) offsets and (..., 4) cxcywh priors -> (..., 4) xyxy, relative.

    `log_limit` is the largest logarithm of a box's size relative to its prior; None for no limit.
    """
    center = priors[..., :2] + offsets[..., :2] * CENTER_VARIANCE * priors[..., 2:]
    log_size = offsets[..., 2:] * SIZE_VARIANCE
    if log_limit is not None:
        log_size = log_size.clamp(max=log_limit)
    half = priors[..., 2:] * torch.exp(log_size) / 2
    return torch.cat([center - half, center + half], -1)
