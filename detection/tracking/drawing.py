"""Drawing of tracks."""

import numpy as np

from detection.drawing import colour_of, draw, draw_label, draw_path, text_style
from detection.tracking.tracker import Tracked, Tracker

SHAPES = (255, 255, 255)  # colour of lines, zones and counts


def draw_tracks(scene: np.ndarray, tracked: Tracked, tracker: Tracker) -> np.ndarray:
    """Draw zones, lines, trails, and boxes with "#7 car 0.93" on an (H, W, 3) uint8 RGB picture; return it.

    Tracks have colours by number; what is not a track yet is grey. Each line and zone has its count, an arrow shows
    which way over a line is "in", and how many objects there have been stands at the lower left.
    """
    height, width = scene.shape[:2]
    lines, zones = tracker.places((width, height))
    for corners in zones:
        draw_path(scene, corners, SHAPES, closed=True)
    for corners in lines:
        draw_path(scene, corners, SHAPES)
        start, end = corners
        middle, along = corners.mean(0), (end - start) / np.linalg.norm(end - start)
        tip = middle + np.array([along[1], -along[0]]) * min(width, height) / 16
        draw_path(scene, np.array([middle, tip]), SHAPES)
        back = (middle - tip) / 3
        side = np.array([-back[1], back[0]])
        draw_path(scene, np.array([tip + back + side, tip, tip + back - side]), SHAPES)
    for number, trail in zip(tracked.ids.tolist(), tracked.trails, strict=True):
        if len(trail) > 1:
            draw_path(scene, trail, colour_of(number))
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
        draw_label(scene, text, place, SHAPES, text_style(width, height, [text]))
    return scene
