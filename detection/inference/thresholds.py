"""Default thresholds of post-processing (section 3.3 of the paper, and SSD's evaluation); imports nothing."""

SCORE_THRESHOLD = 0.01
NMS_THRESHOLD = 0.45  # IoU
TOPK_CANDIDATES = 400  # per class, before NMS
DETECTIONS_PER_IMAGE = 200
