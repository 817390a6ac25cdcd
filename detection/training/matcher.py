"""Which prior answers for which object (Liu et al. 2016, section 2.2, "Matching strategy"; Zhang et al. 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from detection.models.priors import PriorMap

NEAREST = 9  # cells of every map that an object looks at: k of ATSS


def ssd_match(boxes: Tensor, pictures: Tensor, count: int, priors: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Assign the objects of a batch to the priors of their pictures.

    Every object first takes the prior that overlaps it best. Where two want the same prior, the pair of larger IoU
    has it and the other object takes the best that is left, so that no object goes without while there are priors.
    Then each remaining prior takes the object that it overlaps most, if by at least `iou_threshold`.

    Args:
        boxes: (T, 4) xyxy, relative: the objects of all pictures; T may be 0.
        pictures: (T,) int64, the picture that each belongs to, ascending.
        count: pictures in the batch, N.
        priors: (P, 4) cxcywh, relative.

    Returns:
        (N, P) int64, the index of each prior's object in `boxes`, or -1 for background.
    """
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (T, P)
    return assign_best_priors(iou.where(iou >= iou_threshold, 0.0), iou, pictures, count)


def atss_match(boxes: Tensor, pictures: Tensor, count: int, priors: Tensor, maps: Sequence[PriorMap]) -> Tensor:
    """Assign as ATSS does (Zhang et al., CVPR 2020, algorithm 1): every object sets its own threshold.

    An object's candidates are the priors of the `NEAREST` cells of every map, by the distance of the centres. It takes
    those that it overlaps by the mean and the standard deviation of all of them at least and whose centre lies in it;
    a prior that several take goes to the one that it overlaps most. Other than there, no object goes without: as in
    `ssd_match`, each has the prior that it overlaps best.

    Args:
        maps: each head's, in the order of the priors; the rest as in `ssd_match`.
    """
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (T, P)
    if not len(boxes):
        return assign_best_priors(iou, iou, pictures, count)
    distance = torch.cdist((boxes[:, :2] + boxes[:, 2:]) / 2, priors[:, :2])
    candidates, start = [], 0
    for cells, shapes in maps:
        of_map = cells * cells * len(shapes)
        near = distance[:, start : start + of_map].topk(min(NEAREST * len(shapes), of_map), largest=False).indices
        candidates.append(near + start)
        start += of_map
    chosen = torch.cat(candidates, 1)  # (T, K)
    overlap = iou.gather(1, chosen)
    centre = priors[chosen, :2]
    inside = ((centre > boxes[:, None, :2]) & (centre < boxes[:, None, 2:])).all(-1)
    threshold = overlap.mean(1, keepdim=True) + overlap.std(1, keepdim=True)
    wanted = torch.zeros_like(iou).scatter_(1, chosen, overlap.where((overlap >= threshold) & inside, 0.0))
    return assign_best_priors(wanted, iou, pictures, count)


def assign_best_priors(wanted: Tensor, iou: Tensor, pictures: Tensor, count: int) -> Tensor:
    """Give every prior to the object of its picture that wants it most, and every object its best prior first.

    Args:
        wanted: (T, P), how much an object wants a prior; 0 for not at all.
        iou: (T, P), by which each has its own; pictures, count: as in `ssd_match`.

    Returns:
        (N, P) int64, an index of an object or -1.
    """
    total, priors = iou.shape
    matched = torch.full((count, priors), -1, dtype=torch.int64, device=iou.device)
    if total == 0:
        return matched
    rows = pictures[:, None].expand_as(iou)
    best = torch.zeros(count, priors, device=iou.device).scatter_reduce_(0, rows, wanted, "amax")
    # Of the objects that want a prior equally, the first one of the picture.
    number = torch.arange(total, device=iou.device)[:, None].expand_as(iou)
    own = torch.where((wanted == best[pictures]) & (wanted > 0), number, total)
    first = torch.full_like(matched, total).scatter_reduce_(0, rows, own, "amin")
    matched = torch.where(first < total, first, matched)

    forced = iou.argmax(1)  # (T,) each object's own prior
    for picture in conflicts(forced, pictures, priors):
        objects = torch.nonzero(pictures == picture).flatten()
        forced[objects] = greedy_bipartite(iou[objects])
    held = forced >= 0
    matched[pictures[held], forced[held]] = number[held, 0]
    return matched


def conflicts(forced: Tensor, pictures: Tensor, priors: int) -> list[int]:
    """The pictures in which two objects want the same prior."""
    keys = (pictures * priors + forced).sort().values
    return sorted(set((keys[1:][keys[1:] == keys[:-1]] // priors).tolist()))


def greedy_bipartite(iou: Tensor) -> Tensor:
    """One prior for each object of a picture, the pair of the largest IoU first.

    Args:
        iou: (n, P) of the picture's objects.

    Returns:
        (n,) int64 indices of priors, -1 for objects that come when all are gone.
    """
    iou = iou.clone()
    forced = torch.full((len(iou),), -1, dtype=torch.int64, device=iou.device)
    for _ in range(min(iou.shape)):
        row_best, row_prior = iou.max(1)
        row = row_best.argmax()
        prior = row_prior[row]
        forced[row] = prior
        iou[row] = -1  # this object has its prior
        iou[:, prior] = -1  # and the prior its object
    return forced
