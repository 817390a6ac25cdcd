"""Training targets: a class and box offsets for every prior."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detection.models.box_coder import encode
from detection.models.priors import PriorMap
from detection.training.matcher import Matcher, ssd_match

BACKGROUND = 0


class Target(NamedTuple):
    """Ground truths of one image: boxes (n, 4) xyxy relative, labels (n,) int64, 0-based without background."""

    boxes: Tensor
    labels: Tensor


class PriorTargets(NamedTuple):
    """Targets of N images with P priors, K of which are matched over all images.

    Attributes:
        classes: (N, P) int64, target class of each prior: background 0, else label + 1.
        images, priors: (K,) int64, index of the image and of the prior of each match, ascending.
        offsets: (K, 4), target offsets of the matched priors, as `box_coder.encode` returns them.
    """

    classes: Tensor
    images: Tensor
    priors: Tensor
    offsets: Tensor


def build_targets(
    targets: Sequence[Target], priors: Tensor, matcher: Matcher = ssd_match, maps: Sequence[PriorMap] = ()
) -> PriorTargets:
    """Match the ground truths of a batch to the priors.

    Args:
        priors: (P, 4) cxcywh, relative.
        matcher: assigns the ground truths to priors.
        maps: prior map of each head, in the order of the priors; required by ATSS.
    """
    boxes = torch.cat([target.boxes for target in targets])
    labels = torch.cat([target.labels for target in targets])
    counts = torch.tensor([len(target.labels) for target in targets])
    images = torch.arange(len(targets)).repeat_interleave(counts).to(priors.device)
    matched = matcher(boxes, images, len(targets), priors, maps)  # (N, P)
    image, prior = torch.nonzero(matched >= 0, as_tuple=True)  # a GPU is synchronized here, to know their number
    objects = matched[image, prior]
    classes = torch.zeros_like(matched)
    classes[image, prior] = labels[objects] + 1
    return PriorTargets(classes, image, prior, encode(boxes[objects], priors[prior]))
