"""Merging of tile detections with those of the whole image: which boxes count, and NMS over all of them.

Chosen by mAP on VOC07 minival among NMS, weighted box fusion and containment; see docs/benchmarks/tiles.md.
"""

from collections.abc import Sequence

import numpy as np

from data.boxes import box_iou
from detection.inference.nms import nms
from detection.inference.options import DetectionOptions
from detection.inference.prediction import Prediction
from detection.inference.thresholds import Confidence

#: Largest box of a tile that counts, the root of its area as a share of the root of the tile's area. Larger objects are
#: found better in the whole image or in a coarser grid.
MAX_BOX_SHARE = 0.35
#: A box closer to an inner edge of its tile than this share of the tile's side is taken for a cut object.
EDGE_SHARE = 0.01
#: Factor on the scores of tiles: of two equal scores, that of the whole image is right more often.
TILE_SCORE = 0.9
#: Boxes of a class that overlap a kept one by more than this IoU are averaged with it, weighted by their scores.
AVERAGING_IOU = 0.55


def tile_prediction(found: Prediction, tile: Sequence[int], width: int, height: int) -> Prediction:
    """Small, uncut boxes of one tile, moved to their place in the image, with the scores of tiles.

    Args:
        found: detections in the tile, boxes in its pixels.
        tile: xyxy in pixels of the image.
        width, height: size of the image, pixels.
    """
    x1, y1, x2, y2 = tile
    boxes = found.boxes
    low, high = np.array([x1, y1]), np.array([x2, y2])
    side = high - low
    margin = EDGE_SHARE * side
    inner_low, inner_high = low > 0, high < (width, height)
    cut = (inner_low & (boxes[:, :2] < margin)) | (inner_high & (boxes[:, 2:] > side - margin))
    sides = boxes[:, 2:] - boxes[:, :2]
    small = sides.prod(axis=1) < MAX_BOX_SHARE**2 * side.prod()
    kept = small & ~cut.any(axis=1)
    placed = boxes[kept] + np.array([x1, y1, x1, y1], np.float32)
    return Prediction(placed, found.scores[kept] * np.float32(TILE_SCORE), found.labels[kept])


def view_prediction(
    scores: np.ndarray,
    boxes: np.ndarray,
    tile: Sequence[int] | None,
    width: int,
    height: int,
    options: DetectionOptions,
) -> Prediction:
    """Detections of one view of an image in the image's pixels, ready for `merge_views`.

    Args:
        scores, boxes: raw outputs of the view, (P, C) and (P, 4), see `DetectionOptions.postprocess`.
        tile: xyxy of the tile in pixels of the image; None for the whole image.
        width, height: size of the image, pixels.
        options: thresholds and classes of the result.
    """
    if tile is None:
        return options.postprocess(scores, boxes, width=width, height=height)
    x1, y1, x2, y2 = tile
    # The scores of tiles are reduced afterwards.
    own = options.change_confidence(lambda confidence: min(1.0, confidence / TILE_SCORE))
    found = own.postprocess(scores, boxes, width=x2 - x1, height=y2 - y1)
    return tile_prediction(found, tile, width, height)


def merge_views(parts: Sequence[Prediction], options: DetectionOptions) -> Prediction:
    """`merge` with the thresholds of `options`; a whole image without tiles is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    return merge(parts, options.confidence, options.iou, options.nms_candidates, options.max_detections)


def merge(parts: Sequence[Prediction], confidence: Confidence, iou: float, candidates: int, keep: int) -> Prediction:
    """NMS per class over all parts; each kept box is averaged with those that nearly coincide with it.

    Args:
        parts: predictions in pixels of one image: of the whole image, and `tile_prediction`s.
        confidence, iou, candidates, keep: as for `detection.inference.nms.postprocess`.

    Returns:
        The detections of the image, best first.
    """
    boxes, scores, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = nms(boxes, scores, labels, confidence, iou, candidates)
    found = Prediction(*(array[:keep] for array in found))
    averaged = found.boxes.copy()
    for label in np.unique(found.labels):
        kept, members = found.labels == label, np.flatnonzero(labels == label)
        members = members[np.argsort(-scores[members], kind="stable")[:candidates]]
        overlap = box_iou(found.boxes[kept][:, None], boxes[members][None])  # (k, m)
        weights = (overlap > AVERAGING_IOU) * scores[members]
        averaged[kept] = weights @ boxes[members] / weights.sum(axis=1, keepdims=True)
    return found._replace(boxes=averaged)
