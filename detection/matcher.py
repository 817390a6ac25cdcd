"""Which prior answers for which object (Liu et al. 2016, section 2.2, "Matching strategy")."""

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou


def match(boxes: Tensor, pictures: Tensor, count: int, priors: Tensor, iou_threshold: float = 0.5) -> Tensor:
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
    matched = torch.full((count, len(priors)), -1, dtype=torch.int64, device=priors.device)
    total = len(boxes)
    if total == 0:
        return matched
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (T, P)
    rows = pictures[:, None].expand_as(iou)
    best = torch.zeros(count, len(priors), device=priors.device).scatter_reduce_(0, rows, iou, "amax")
    # Of the objects that overlap a prior equally, the first one of the picture.
    number = torch.arange(total, device=priors.device)[:, None].expand_as(iou)
    own = torch.where(iou == best[pictures], number, total)
    first = torch.full_like(matched, total).scatter_reduce_(0, rows, own, "amin")
    matched = torch.where((best >= iou_threshold) & (first < total), first, matched)

    forced = iou.argmax(1)  # (T,) each object's own prior
    for picture in contested(forced, pictures, len(priors)):
        objects = torch.nonzero(pictures == picture).flatten()
        forced[objects] = share_out(iou[objects])
    held = forced >= 0
    matched[pictures[held], forced[held]] = number[held, 0]
    return matched


def contested(forced: Tensor, pictures: Tensor, priors: int) -> list[int]:
    """The pictures in which two objects want the same prior."""
    keys = (pictures * priors + forced).sort().values
    return sorted(set((keys[1:][keys[1:] == keys[:-1]] // priors).tolist()))


def share_out(iou: Tensor) -> Tensor:
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
