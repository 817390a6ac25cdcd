"""Default thresholds of post-processing (section 3.3 of the paper, and SSD's evaluation), and overlap of tiles.

Imports nothing, so that help texts can state them at once.
"""

SCORE_THRESHOLD = 0.01
NMS_THRESHOLD = 0.45  # IoU
TOPK_CANDIDATES = 400  # per class, before NMS
DETECTIONS_PER_IMAGE = 200
TILE_OVERLAP = 0.25  # share of a tile's side that it has in common with its neighbor
TARGET_PRECISION = 0.8  # of the default thresholds of the classes: one false alarm in five detections

Confidence = float | tuple[float, ...]
"""Score threshold, 0 to 1: one for all classes, or one for each class in the order of the labels."""
