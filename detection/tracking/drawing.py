"""Drawing of tracks."""

import numpy as np

from detection.drawing import color_of, draw, draw_label, draw_path, text_style
from detection.tracking.tracker import Tracked, Tracker

SHAPE_COLOR = (255, 255, 255)  # of lines, zones and counts


def draw_tracks(scene: np.ndarray, tracked: Tracked, tracker: Tracker) -> np.ndarray:
    """Draw zones, lines, trails, and boxes with "#7 car 0.93" on an (H, W, 3) uint8 RGB image, in place; return it.

    The color of a track follows from its id; detections without a track are gray. Each line and zone has its count, an
    arrow shows the direction "in" of a line, and the total of objects by class is at the lower left.
    """
    height, width = scene.shape[:2]
    lines, zones = tracker.shapes((width, height))
    for corners in zones:
        draw_path(scene, corners, SHAPE_COLOR, closed=True)
    for corners in lines:
        draw_path(scene, corners, SHAPE_COLOR)
        start, end = corners
        middle, along = corners.mean(0), (end - start) / np.linalg.norm(end - start)
        tip = middle + np.array([along[1], -along[0]]) * min(width, height) / 16
        draw_path(scene, np.array([middle, tip]), SHAPE_COLOR)
        back = (middle - tip) / 3
        side = np.array([-back[1], back[0]])
        draw_path(scene, np.array([tip + back + side, tip, tip + back - side]), SHAPE_COLOR)
    for number, trail in zip(tracked.ids.tolist(), tracked.trails, strict=True):
        if len(trail) > 1:
            draw_path(scene, trail, color_of(number))
    boxes, scores, labels = tracked.prediction
    names = [
        f"#{number} {tracker.class_names[label]}" if number > 0 else tracker.class_names[label]
        for number, label in zip(tracked.ids.tolist(), labels.tolist(), strict=True)
    ]
    draw(scene, boxes, scores, tracked.ids, names)

    counts = tracked.counts
    texts = [f"in {sum(line['in'].values())}  out {sum(line['out'].values())}" for line in counts["lines"]]
    texts += [str(sum(zone["now"].values())) for zone in counts["zones"]]
    places = [tuple(corners.mean(0).tolist()) for corners in lines]
    places += [tuple(corners[corners.sum(1).argmin()].tolist()) for corners in zones]  # the corner at the upper left
    if counts["objects"]:
        texts.append(", ".join(f"{name} {count}" for name, count in sorted(counts["objects"].items())))
        places.append((0, height))
    for text, place in zip(texts, places, strict=True):
        draw_label(scene, text, place, SHAPE_COLOR, text_style(width, height, [text]))
    return scene
