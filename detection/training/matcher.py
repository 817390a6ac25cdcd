"""Matchers assign ground-truth boxes to priors: SSD (Liu et al. 2016, section 2.2), ATSS (Zhang et al. 2020).

They are registered by name in `detection.training.loss_settings`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from detection.models.priors import PriorMap

Matcher = Callable[[Tensor, Tensor, int, Tensor, Sequence[PriorMap]], Tensor]
"""(boxes, images, count, priors, maps) -> (N, P), as `ssd_match`."""
ATSS_TOPK = 9  # candidate cells per ground truth and map: k of ATSS


def ssd_match(
    boxes: Tensor,
    images: Tensor,
    count: int,
    priors: Tensor,
    maps: Sequence[PriorMap] = (),
    iou_threshold: float = 0.5,
) -> Tensor:
    """Match the ground truths of a batch to the priors of their images, as SSD does.

    First, each ground truth is matched to its best prior. Where several have the same best prior, the pair of larger
    IoU is matched and the other ground truth takes its best remaining prior, so that each has a prior while there are
    enough. Then each remaining prior is matched to the ground truth of largest IoU, if that is at least
    `iou_threshold`.

    Args:
        boxes: (T, 4) xyxy, relative: ground truths of all images; T may be 0.
        images: (T,) int64, image index of each, ascending.
        count: images in the batch, N.
        priors: (P, 4) cxcywh, relative.
        maps: unused.

    Returns:
        (N, P) int64, index in `boxes` of the ground truth of each prior, or -1 for background.
    """
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (T, P)
    return assign_best_priors(iou.where(iou >= iou_threshold, 0.0), iou, images, count)


def atss_match(boxes: Tensor, images: Tensor, count: int, priors: Tensor, maps: Sequence[PriorMap]) -> Tensor:
    """Match as ATSS does (Zhang et al., CVPR 2020, algorithm 1), with an adaptive threshold per ground truth.

    The candidates of a ground truth are the priors of the `ATSS_TOPK` cells of every map whose centers are nearest. It
    is matched to the candidates whose center lies in it and whose IoU is at least the mean plus the standard deviation
    over all its candidates; a prior matched several times keeps the ground truth of largest IoU. Unlike in the paper,
    each ground truth is also matched to its best prior, as in `ssd_match`.

    Args:
        maps: prior map of each head, in the order of the priors; the others as in `ssd_match`.
    """
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (T, P)
    if not len(boxes):
        return assign_best_priors(iou, iou, images, count)
    distance = torch.cdist((boxes[:, :2] + boxes[:, 2:]) / 2, priors[:, :2])
    candidates, start = [], 0
    for cells, shapes, _ in maps:
        of_map = cells * cells * len(shapes)
        nearest = distance[:, start : start + of_map].topk(min(ATSS_TOPK * len(shapes), of_map), largest=False).indices
        candidates.append(nearest + start)
        start += of_map
    candidate = torch.cat(candidates, 1)  # (T, K)
    overlap = iou.gather(1, candidate)
    center = priors[candidate, :2]
    inside = ((center > boxes[:, None, :2]) & (center < boxes[:, None, 2:])).all(-1)
    threshold = overlap.mean(1, keepdim=True) + overlap.std(1, keepdim=True)
    affinity = torch.zeros_like(iou).scatter_(1, candidate, overlap.where((overlap >= threshold) & inside, 0.0))
    return assign_best_priors(affinity, iou, images, count)


def assign_best_priors(affinity: Tensor, iou: Tensor, images: Tensor, count: int) -> Tensor:
    """Match each prior to the ground truth of its image of largest affinity, and each ground truth to its best prior.

    Args:
        affinity: (T, P), 0 where a ground truth must not be matched to a prior.
        iou: (T, P), determines the best prior of each ground truth, which takes precedence.
        images, count: as in `ssd_match`.

    Returns:
        (N, P) int64, index of a ground truth or -1.
    """
    total, priors = iou.shape
    matched = torch.full((count, priors), -1, dtype=torch.int64, device=iou.device)
    if total == 0:
        return matched
    rows = images[:, None].expand_as(iou)
    best = torch.zeros(count, priors, device=iou.device).scatter_reduce_(0, rows, affinity, "amax")
    # Of ground truths with equal affinity, the first one of the image.
    number = torch.arange(total, device=iou.device)[:, None].expand_as(iou)
    own = torch.where((affinity == best[images]) & (affinity > 0), number, total)
    first = torch.full_like(matched, total).scatter_reduce_(0, rows, own, "amin")
    matched = torch.where(first < total, first, matched)

    best_prior = distinct_best_priors(iou, images)
    # A ground truth without a prior writes to an extra element, which is cut off. A mask would synchronize a GPU.
    place = torch.where(best_prior >= 0, images * priors + best_prior, count * priors)
    padded = torch.cat([matched.flatten(), matched.new_zeros(1)])
    return padded.scatter_(0, place, number[:, 0])[:-1].view(count, priors)


def distinct_best_priors(iou: Tensor, images: Tensor) -> Tensor:
    """Greedy bipartite matching of the ground truths of each image to priors, the pair of largest IoU first.

    All images at once, as deferred acceptance (Gale and Shapley 1962): each ground truth proposes to its best prior
    that has not rejected it, and each prior rejects all but the proposal of largest IoU, of equal ones the first. As
    both sides rank the pairs by IoU, the result is that of the greedy matching. The number of rounds depends on the
    ground truths that compete for a prior, not on the number of images; a GPU is synchronized once per round.

    Args:
        iou: (T, P).
        images: (T,) int64, image of each ground truth.

    Returns:
        (T,) int64 indices of priors, -1 for ground truths left over when all priors of their image are taken.
    """
    remaining = iou
    while True:
        value, prior = remaining.max(1)
        # Proposals sorted by prior, then by IoU, then by ground truth: all but the first to a prior are rejected.
        order = value.argsort(descending=True, stable=True)
        key = images * iou.shape[1] + prior
        order = order[key[order].argsort(stable=True)]
        again = key[order].diff(prepend=key.new_full((1,), -1)) == 0
        rejected = torch.empty_like(again).scatter_(0, order, again) & (value >= 0)
        if not rejected.any():
            return prior.where(value >= 0, -1)
        if remaining is iou:
            remaining = iou.clone()
        remaining.scatter_(1, prior[:, None], value.masked_fill(rejected, -1)[:, None])
