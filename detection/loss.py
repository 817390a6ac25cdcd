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
    boxes = torch.cat([target.boxes for target in targets])
    labels = torch.cat([target.labels for target in targets])
    counts = torch.tensor([len(target.labels) for target in targets])
    pictures = torch.arange(len(targets)).repeat_interleave(counts).to(priors.device)
    matched = match(boxes, pictures, len(targets), priors, iou_threshold)  # (N, P)
    picture, prior = torch.nonzero(matched >= 0, as_tuple=True)
    objects = matched[picture, prior]
    classes = torch.zeros_like(matched)
    classes[picture, prior] = labels[objects] + 1
    offsets = torch.zeros(len(targets), len(priors), 4, device=priors.device)
    offsets[picture, prior] = encode(boxes[objects], priors[prior])
    return classes, offsets


def hard_negatives(background_loss: Tensor, positive: Tensor, ratio: float = 3.0) -> Tensor:
    """The background priors that count: each picture's worst `ratio` for every positive it has.

    Args:
        background_loss: (N, P), how wrong each prior would be as background.
        positive: (N, P) bool.

    Returns:
        (N, P) bool; none where a picture has no positive.
    """
    positives = positive.sum(1, keepdim=True)
    # What is wanted, and no more than there is.
    wanted = torch.minimum((positives * ratio).long(), positive.shape[1] - positives)
    deepest = int(wanted.max())
    worst = background_loss.detach().masked_fill(positive, -torch.inf).topk(deepest, 1).indices  # (N, K)
    rank = torch.arange(deepest, device=worst.device).expand_as(worst)
    return torch.zeros_like(positive).scatter_(1, worst, rank < wanted)


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
    cross_entropy = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
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
