"""SSD's multibox loss (Liu et al. 2016, section 2.2, equations 1 to 3)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from detection.boxes import encode
from detection.matcher import match

BACKGROUND = 0


class Target(NamedTuple):
    """The objects of one picture: boxes (n, 4) xyxy relative, labels (n,) int64 0-based without background."""

    boxes: Tensor
    labels: Tensor


class Losses(NamedTuple):
    """The two parts of the loss, each divided by the number of matched priors; training minimises their sum."""

    classification: Tensor
    localization: Tensor


def assign(targets: Sequence[Target], priors: Tensor, iou_threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """What every prior of every picture should predict.

    Returns:
        classes (N, P) int64, background 0 and label + 1; offsets (N, P, 4), zero where background.
    """
    classes = torch.zeros(len(targets), len(priors), dtype=torch.int64, device=priors.device)
    offsets = torch.zeros(len(targets), len(priors), 4, device=priors.device)
    for index, (boxes, labels) in enumerate(targets):
        matched = match(boxes, priors, iou_threshold)
        positive = matched >= 0
        objects = matched[positive]
        classes[index, positive] = labels[objects] + 1
        offsets[index, positive] = encode(boxes[objects], priors[positive])
    return classes, offsets


def hard_negatives(background_loss: Tensor, positive: Tensor, ratio: float = 3.0) -> Tensor:
    """The background priors that count: each picture's worst `ratio` for every positive it has.

    Args:
        background_loss: (N, P), how wrong each prior would be as background.
        positive: (N, P) bool.

    Returns:
        (N, P) bool; none where a picture has no positive.
    """
    wanted = (positive.sum(1, keepdim=True) * ratio).long()
    ranked = background_loss.detach().masked_fill(positive, -torch.inf).argsort(1, descending=True)
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    return (rank < wanted) & ~positive


def multibox_loss(
    logits: Tensor, offsets: Tensor, targets: Sequence[Target], priors: Tensor, negative_ratio: float = 3.0
) -> Losses:
    """The multibox loss of one batch.

    Softmax cross-entropy over the matched priors and `negative_ratio` times as many hard negatives, smooth L1 over
    the matched, both divided by the number of matched priors: over all processes where training is distributed, so
    that N processes give the gradient of one with the whole batch. A batch without any object has loss zero.

    Args:
        logits: (N, P, C + 1), background first.
        offsets: (N, P, 4), as `boxes.encode` gives them.
        priors: (P, 4) cxcywh, relative.
    """
    logits, offsets = logits.float(), offsets.float()
    classes, wanted_offsets = assign(targets, priors)
    positive = classes != BACKGROUND
    cross_entropy = F.cross_entropy(logits.transpose(1, 2), classes, reduction="none")  # (N, P)
    counted = positive | hard_negatives(cross_entropy, positive, negative_ratio)
    matched = positive.sum().float()
    processes = 1
    if dist.is_available() and dist.is_initialized():
        # DDP averages gradients over processes: dividing by the mean count makes that the global sum over the
        # global count.
        dist.all_reduce(matched)
        processes = dist.get_world_size()
    matched = matched.clamp(min=1) / processes
    localization = F.smooth_l1_loss(offsets[positive], wanted_offsets[positive], reduction="sum")
    return Losses((cross_entropy * counted).sum() / matched, localization / matched)
