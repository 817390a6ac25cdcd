"""Training targets: a class and a box for every prior."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detection.models.box_coder import encode
from detection.models.priors import PriorMap
from detection.training.matcher import atss_match, ssd_match

BACKGROUND = 0


class Target(NamedTuple):
    """The objects of one picture: boxes (n, 4) xyxy relative, labels (n,) int64 0-based without background."""

    boxes: Tensor
    labels: Tensor


def build_targets(
    targets: Sequence[Target], priors: Tensor, maps: Sequence[PriorMap] | None = None
) -> tuple[Tensor, Tensor]:
    """What every prior of every picture should predict.

    Args:
        maps: match by `atss_match`, with these maps; None for `ssd_match`.

    Returns:
        classes (N, P) int64, background 0 and label + 1; offsets (N, P, 4), zero where background.
    """
    boxes = torch.cat([target.boxes for target in targets])
    labels = torch.cat([target.labels for target in targets])
    counts = torch.tensor([len(target.labels) for target in targets])
    pictures = torch.arange(len(targets)).repeat_interleave(counts).to(priors.device)
    if maps is None:
        matched = ssd_match(boxes, pictures, len(targets), priors)  # (N, P)
    else:
        matched = atss_match(boxes, pictures, len(targets), priors, maps)
    picture, prior = torch.nonzero(matched >= 0, as_tuple=True)
    objects = matched[picture, prior]
    classes = torch.zeros_like(matched)
    classes[picture, prior] = labels[objects] + 1
    offsets = torch.zeros(len(targets), len(priors), 4, device=priors.device)
    offsets[picture, prior] = encode(boxes[objects], priors[prior])
    return classes, offsets
