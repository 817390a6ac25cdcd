"""Which prior answers for which object (Liu et al. 2016, section 2.2, "Matching strategy")."""

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou


def match(boxes: Tensor, priors: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Assign objects to priors.

    Every object first takes the prior that overlaps it best. Where two want the same prior, the pair of larger IoU
    has it and the other object takes the best that is left, so that no object goes without while there are priors.
    Then each remaining prior takes the object that it overlaps most, if by at least `iou_threshold`.

    Args:
        boxes: (n, 4) xyxy, relative; n may be 0.
        priors: (P, 4) cxcywh, relative.

    Returns:
        (P,) int64, the index of each prior's object, or -1 for background.
    """
    matched = torch.full((len(priors),), -1, dtype=torch.int64, device=priors.device)
    if len(boxes) == 0:
        return matched
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))  # (n, P)
    best_iou, best_object = iou.max(0)
    matched = torch.where(best_iou >= iou_threshold, best_object, matched)
    for _ in range(min(len(boxes), len(priors))):
        row_best, row_prior = iou.max(1)
        row = row_best.argmax()
        prior = row_prior[row]
        matched[prior] = row
        iou[row] = -1  # this object has its prior
        iou[:, prior] = -1  # and the prior its object
    return matched
