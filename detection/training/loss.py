"""Multibox loss of SSD (Liu et al. 2016, section 2.2, equations 1 to 3) and its alternatives.

The losses are registered by name in `detection.training.loss_settings`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from detection.models.box_coder import decode
from detection.models.heads import Head
from detection.models.priors import PriorMap
from detection.training.loss_settings import BOX_LOSSES, CLASSIFICATION_LOSSES, MATCHERS, SSD_LOSS, LossSettings
from detection.training.targets import BACKGROUND, Target, build_targets

FOCAL_GAMMA = 2.0
FOCAL_PRIOR = 0.01  # pi of the focal loss: initial probability of all object classes together


class LossInputs(NamedTuple):
    """Predictions and targets of a batch of N images with P priors, K of which are matched over all images.

    Attributes:
        log_probabilities: (N, P, C + 1), background first.
        classes: (N, P) int64, target class of each prior, 0 for background.
        positive: (N, P) bool, the matched priors.
        offsets: (K, 4), predicted offsets of the matched priors.
        target_offsets: (K, 4), their targets, as `box_coder.encode` returns them.
        priors: (K, 4) cxcywh, relative.
        settings: the loss settings.
    """

    log_probabilities: Tensor
    classes: Tensor
    positive: Tensor
    offsets: Tensor
    target_offsets: Tensor
    priors: Tensor
    settings: LossSettings


class BoxLoss(Protocol):
    """Interface of a box loss."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Loss summed over the K matched priors; a scalar."""
        ...


class ClassificationLoss(Protocol):
    """Interface of a classification loss. A method `init_head(head)`, where there is one, initializes new heads."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Loss summed over images and priors; a scalar."""
        ...


class MultiboxLosses(NamedTuple):
    """The two parts of the loss, each divided by the number of matched priors; training minimizes their sum."""

    classification: Tensor
    localization: Tensor


def multibox_loss(
    logits: Tensor,
    offsets: Tensor,
    targets: Sequence[Target],
    priors: Tensor,
    settings: LossSettings = SSD_LOSS,
    maps: Sequence[PriorMap] = (),
) -> MultiboxLosses:
    """Multibox loss of one batch; by default that of SSD.

    The default is softmax cross-entropy over the matched priors and 3 times as many hard negatives, plus smooth L1 over
    the matched priors, both divided by the number of matched priors. In distributed training this number is summed over
    all processes, so that N processes give the gradient of one process with the whole batch. The loss of SSD is zero
    for a batch without objects.

    Args:
        logits: (N, P, C + 1), background first.
        offsets: (N, P, 4), as `box_coder.encode` returns them.
        priors: (P, 4) cxcywh, relative.
        settings: names of the losses and of the matcher, and their parameters.
        maps: prior map of each head, in the order of the priors; required by ATSS.
    """
    logits, offsets = logits.float(), offsets.float()
    wanted = build_targets(targets, priors, MATCHERS[settings.assignment].load(), maps)
    positive = wanted.classes != BACKGROUND
    inputs = LossInputs(
        logits.log_softmax(-1),
        wanted.classes,
        positive,
        offsets[wanted.images, wanted.priors],
        wanted.offsets,
        priors[wanted.priors],
        settings,
    )
    classification_loss: ClassificationLoss = CLASSIFICATION_LOSSES[settings.class_loss].load()
    box_loss: BoxLoss = BOX_LOSSES[settings.box_loss].load()
    classification, localization = classification_loss(inputs), box_loss(inputs)

    matched = positive.sum().float()
    processes = 1
    if dist.is_available() and dist.is_initialized():
        # DDP averages gradients over processes: dividing by the mean count makes that the global sum over the
        # global count.
        dist.all_reduce(matched)
        processes = dist.get_world_size()
    matched = matched.clamp(min=1) / processes
    return MultiboxLosses(classification / matched, settings.box_weight * localization / matched)


def init_heads(heads: Iterable[nn.Module], settings: LossSettings) -> None:
    """Initialize new heads for the classification loss, by its `init_head(head)` if it has one."""
    init_head = getattr(CLASSIFICATION_LOSSES[settings.class_loss].load(), "init_head", None)
    if init_head is not None:
        for head in heads:
            init_head(head)


class SoftmaxLoss:
    """Cross-entropy over the matched priors and hard negatives, as in SSD."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        loss = _smooth_labels(self.prior_losses(inputs), inputs)
        background_loss = -inputs.log_probabilities[..., BACKGROUND]
        negative = hard_negatives(background_loss, inputs.positive, inputs.settings.negative_ratio)
        return (loss * (inputs.positive | negative).float()).sum()

    def prior_losses(self, inputs: LossInputs) -> Tensor:
        """(N, P), the loss of each prior before label smoothing."""
        return _cross_entropy(inputs)


class QualityLoss(SoftmaxLoss):
    """As `SoftmaxLoss`, but the target probability of a matched prior's class is the IoU of its predicted box.

    The rest of the target is the background. After Li et al., "Generalized Focal Loss", NeurIPS 2020.
    """

    def prior_losses(self, inputs: LossInputs) -> Tensor:
        predicted = decode(inputs.offsets.detach(), inputs.priors)  # detached: the IoU is a target
        quality = elementwise_box_iou(predicted, decode(inputs.target_offsets, inputs.priors))
        loss, positive = _cross_entropy(inputs), inputs.positive
        background_loss = -inputs.log_probabilities[..., BACKGROUND]
        mixed = quality * loss[positive] + (1 - quality) * background_loss[positive]
        return loss.masked_scatter(positive, mixed)


class FocalLoss:
    """Focal loss over all priors (Lin et al., ICCV 2017), with a softmax and without alpha."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        loss = _cross_entropy(inputs)
        weight = (1 - torch.exp(-loss)) ** FOCAL_GAMMA
        return (_smooth_labels(loss, inputs) * weight).sum()

    def init_head(self, head: nn.Module) -> None:
        """Set the biases of a new head so that all object classes together have a probability of `FOCAL_PRIOR`.

        Required by the focal loss, which samples no negatives: otherwise the many background priors dominate the first
        steps (Lin et al., section 3.3).
        """
        assert isinstance(head, Head)
        objects = head.num_outputs - 1
        with torch.no_grad():
            head.class_bias[:, BACKGROUND] = math.log(objects * (1 - FOCAL_PRIOR) / FOCAL_PRIOR)


SOFTMAX_LOSS, QUALITY_LOSS, FOCAL_LOSS = SoftmaxLoss(), QualityLoss(), FocalLoss()


def smooth_l1_loss(inputs: LossInputs) -> Tensor:
    """Smooth L1 loss of the offsets, as in SSD."""
    return F.smooth_l1_loss(inputs.offsets, inputs.target_offsets, reduction="sum")


def giou_loss(inputs: LossInputs) -> Tensor:
    """1 - generalized IoU (Rezatofighi et al., CVPR 2019)."""
    return generalized_box_iou_loss(*_boxes(inputs), reduction="sum")


def diou_loss(inputs: LossInputs) -> Tensor:
    """1 - distance IoU (Zheng et al., AAAI 2020)."""
    return distance_box_iou_loss(*_boxes(inputs), reduction="sum")


def ciou_loss(inputs: LossInputs) -> Tensor:
    """1 - complete IoU (Zheng et al., AAAI 2020)."""
    return complete_box_iou_loss(*_boxes(inputs), reduction="sum")


def hard_negatives(background_loss: Tensor, positive: Tensor, ratio: float = 3.0) -> Tensor:
    """Hard negatives: in each image, the `ratio` background priors of largest loss per positive.

    Args:
        background_loss: (N, P), loss of each prior for the background class.
        positive: (N, P) bool.

    Returns:
        (N, P) bool; none where an image has no positive.
    """
    positives = positive.sum(1, keepdim=True)
    # at most as many as there are background priors
    count = torch.minimum((positives * ratio).long(), positive.shape[1] - positives)
    largest = int(count.max())
    hardest = background_loss.detach().masked_fill(positive, -torch.inf).topk(largest, 1).indices  # (N, K)
    rank = torch.arange(largest, device=hardest.device).expand_as(hardest)
    return torch.zeros_like(positive).scatter_(1, hardest, rank < count)


def elementwise_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of corresponding boxes: (K, 4) and (K, 4) xyxy -> (K,)."""
    intersection = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=torch.finfo(intersection.dtype).tiny)


def _cross_entropy(inputs: LossInputs) -> Tensor:
    """(N, P) cross-entropy of each prior."""
    return -inputs.log_probabilities.gather(-1, inputs.classes[..., None])[..., 0]


def _smooth_labels(loss: Tensor, inputs: LossInputs) -> Tensor:
    """(N, P) losses with the label smoothing of the settings."""
    smoothing = inputs.settings.label_smoothing
    return loss.lerp(-inputs.log_probabilities.mean(-1), smoothing) if smoothing else loss


def _boxes(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Predicted and target boxes of the matched priors, (K, 4) xyxy each."""
    return decode(inputs.offsets, inputs.priors), decode(inputs.target_offsets, inputs.priors)
