"""Areas, intersections and intersection over union (IoU) of xyxy boxes, in NumPy."""

import numpy as np


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) xyxy -> (...) areas; 0 for an inverted box."""
    areas: np.ndarray = np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None), axis=-1)
    return areas


def box_intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 4), (..., 4) xyxy boxes that broadcast -> (...) areas of the intersections."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared: np.ndarray = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    return shared


def box_iou(a: np.ndarray, b: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """(..., 4), (..., 4) xyxy boxes that broadcast -> (...) IoU, 0 for two empty boxes.

    Where `crowd`, which broadcasts, too, is set, the result is the share of `a` that `b` covers (COCO's crowd rule).
    """
    shared, area = box_intersections(a, b), box_areas(a)
    whole = area + box_areas(b) - shared
    if crowd is not None:
        whole = np.where(crowd, area, whole)
    ious: np.ndarray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ious
