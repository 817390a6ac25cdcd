"""SSD's multibox loss (Liu et al. 2016, section 2.2, equations 1 to 3), and what later detectors have in its place."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from detection.models.box_coder import decode
from detection.models.heads import Head
from detection.models.priors import PriorMap
from detection.training.targets import BACKGROUND, Target, build_targets

FOCAL_GAMMA = 2.0  # the focal loss's gamma
FOCAL_PRIOR = 0.01  # the focal loss's pi
BOX_LOSSES = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}


@dataclass(kw_only=True)
class LossSettings:
    """What the loss is made of; the defaults are SSD's, and the network is the same with all of them.

    Attributes:
        assignment: which priors answer for an object: "iou" (`matcher.match`) or "atss" (`matcher.atss_match`).
        class_loss: "softmax", cross-entropy over the matched priors and hard negatives; "focal", over all priors, each
            times (1 - p)^2, p being what it gives its class (Lin et al., ICCV 2017, with a softmax and without alpha);
            or "quality", as "softmax", but a matched prior is to give its class the IoU that its box has, and the
            background the rest (after Li et al., "Generalized Focal Loss", NeurIPS 2020).
        negative_ratio: hard negatives a matched prior; not with "focal".
        label_smoothing: the share of a prior's target that is spread evenly over all classes and the background.
        box_loss: "smooth-l1" on the offsets, or 1 - "giou", "diou", "ciou" of the boxes.
        box_weight: weight of the boxes' loss beside the classes'; an IoU loss is smaller and wants more.
    """

    assignment: Literal["iou", "atss"] = "iou"
    class_loss: Literal["softmax", "focal", "quality"] = "softmax"
    negative_ratio: Annotated[float, Field(gt=0)] = 3.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    box_loss: Literal["smooth-l1", "giou", "diou", "ciou"] = "smooth-l1"
    box_weight: Annotated[float, Field(gt=0)] = 1.0


SSD_LOSS = LossSettings()


class Losses(NamedTuple):
    """The two parts of the loss, each divided by the number of matched priors; training minimises their sum."""

    classification: Tensor
    localization: Tensor


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
    logits: Tensor,
    offsets: Tensor,
    targets: Sequence[Target],
    priors: Tensor,
    settings: LossSettings = SSD_LOSS,
    maps: Sequence[PriorMap] = (),
) -> Losses:
    """The loss of one batch; as it stands SSD's.

    That is softmax cross-entropy over the matched priors and 3 times as many hard negatives, smooth L1 over the
    matched, both divided by the number of matched priors: over all processes where training is distributed, so that N
    processes give the gradient of one with the whole batch. Without any object SSD's is zero.

    Args:
        logits: (N, P, C + 1), background first.
        offsets: (N, P, 4), as `boxes.encode` gives them.
        priors: (P, 4) cxcywh, relative.
        settings: what the loss is made of.
        maps: each head's, in the order of the priors; for assignment by ATSS.
    """
    logits, offsets = logits.float(), offsets.float()
    classes, wanted_offsets = build_targets(targets, priors, maps if settings.assignment == "atss" else None)
    positive = classes != BACKGROUND
    own_priors = priors.expand_as(offsets)[positive]  # (K, 4), as all of the matched
    found, wanted = offsets[positive], wanted_offsets[positive]

    logarithm = logits.log_softmax(-1)  # (N, P, C + 1)
    as_background = -logarithm[..., BACKGROUND]
    wrong = -logarithm.gather(-1, classes[..., None])[..., 0]  # (N, P) cross-entropy
    weight = (1 - torch.exp(-wrong)) ** FOCAL_GAMMA if settings.class_loss == "focal" else None
    if settings.class_loss == "quality":
        quality = elementwise_box_iou(decode(found.detach(), own_priors), decode(wanted, own_priors))
        wrong = wrong.masked_scatter(positive, quality * wrong[positive] + (1 - quality) * as_background[positive])
    if settings.label_smoothing:
        wrong = wrong.lerp(-logarithm.mean(-1), settings.label_smoothing)
    if weight is None:
        weight = (positive | hard_negatives(as_background, positive, settings.negative_ratio)).float()
    classification = (wrong * weight).sum()

    if settings.box_loss == "smooth-l1":
        localization = F.smooth_l1_loss(found, wanted, reduction="sum")
    else:
        distance = BOX_LOSSES[settings.box_loss]
        localization = distance(decode(found, own_priors), decode(wanted, own_priors), reduction="sum")

    matched = positive.sum().float()
    processes = 1
    if dist.is_available() and dist.is_initialized():
        # DDP averages gradients over processes: dividing by the mean count makes that the global sum over the
        # global count.
        dist.all_reduce(matched)
        processes = dist.get_world_size()
    matched = matched.clamp(min=1) / processes
    return Losses(classification / matched, settings.box_weight * localization / matched)


def elementwise_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each of (K, 4) xyxy boxes with its partner: (K,)."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=torch.finfo(shared.dtype).tiny)


def init_focal_bias(heads: Iterable[nn.Module]) -> None:
    """Let new heads give all objects together 1 % at first, so that thousands of background priors do not drown them.

    The focal loss needs it, which leaves none out (Lin et al., section 3.3).
    """
    for head in heads:
        assert isinstance(head, Head)
        objects = head.num_outputs - 1
        with torch.no_grad():
            head.class_bias[:, BACKGROUND] = math.log(objects * (1 - FOCAL_PRIOR) / FOCAL_PRIOR)
