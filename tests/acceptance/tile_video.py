"""Recall of small objects in a 1920 × 1080 film against the number of tiles a frame, with and without tracking.

    python -m tests.acceptance.tile_video --root VOCdevkit [--frames 60]

The film has known objects: images of VOC2007 minival, 96 to 240 pixels wide, move over a dark background.
"""

import argparse
from fractions import Fraction

import cv2
import numpy as np

from data.boxes import box_iou
from data.datasets.records import Record
from data.datasets.registry import open_dataset
from data.images.image_io import read_image
from detection.detector import Detector
from detection.inference.options import DetectionOptions
from detection.inference.prediction import Prediction
from detection.tiling.schedule import NETWORK_SHARE, TileSchedule
from detection.tiling.tiling import Tiling
from detection.tracking.counting import Counting
from detection.tracking.tracker import Tracker, continuation_threshold

WIDTH, HEIGHT, RATE = 1920, 1080, 25
CELLS = (6, 4)  # images across and down
FOUND_IOU = 0.5


class Film:
    """Frames (H, W, 3) uint8 RGB of moving images, and the boxes and labels of their objects."""

    def __init__(self, records: list[Record], seed: int = 0) -> None:
        """Take as many images as there are cells, none of which has difficult objects."""
        random = np.random.default_rng(seed)
        usable = [record for record in records if len(record.labels) and not record.difficult.any()]
        self._images = []
        for index in random.permutation(len(usable))[: CELLS[0] * CELLS[1]]:
            record = usable[index]
            image = read_image(record.image)
            scale = random.uniform(96, 240) / max(image.shape[:2])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self._images.append((small, record.boxes * scale, record.labels))
        self._phases = random.uniform(0, 2 * np.pi, (len(self._images), 2))

    def frame(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frame, its boxes (n, 4) xyxy in pixels, and their labels (n,)."""
        canvas = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        boxes, labels = [], []
        for index, (image, objects, names) in enumerate(self._images):
            height, width = image.shape[:2]
            cell = np.array([WIDTH / CELLS[0], HEIGHT / CELLS[1]])
            room = cell - [width, height]
            place = np.array([index % CELLS[0], index // CELLS[0]]) * cell
            x, y = (place + room * (0.5 + 0.5 * np.sin(self._phases[index] + number / 20))).astype(int)
            canvas[y : y + height, x : x + width] = image
            boxes.append(objects + np.array([x, y, x, y]))
            labels.append(names)
        return canvas, np.concatenate(boxes), np.concatenate(labels)


def found_objects(prediction: Prediction, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) bool: whether an object is found, with its label and an IoU of at least `FOUND_IOU`."""
    overlap = box_iou(boxes[:, None], prediction.boxes[None].astype(float))
    overlap *= labels[:, None] == prediction.labels[None]
    found: np.ndarray = overlap.max(axis=1, initial=0) >= FOUND_IOU
    return found


def recall(detector: Detector, film: Film, tiles: int, frames: int, *, track: bool) -> tuple[float, float]:
    """Share of objects found per frame, and share of those that are found in any frame."""
    confidence = detector.card.default_confidence
    options = DetectionOptions(confidence)
    options = options.change_confidence(continuation_threshold) if track else options
    schedule = TileSchedule(Tiling(), detector.input_size)
    schedule.record(1, NETWORK_SHARE)  # one view a second, so that the interval is the number of views
    tracker = Tracker(detector.class_names, Fraction(RATE), Counting(), confidence=confidence) if track else None
    tracked = np.empty((0, 4), np.float32)
    shares, ever = [], None
    for number in range(frames):
        image, boxes, labels = film.frame(number)
        rows = schedule.next_tiles(WIDTH, HEIGHT, tiles + 1.5, tracked, 0)
        assert len(rows) == tiles
        (prediction,) = detector.submit([image], options, [rows]).result()
        if tracker is not None:
            update = tracker.update(prediction, Fraction(number, RATE), (WIDTH, HEIGHT))
            tracked, prediction = update.prediction.boxes, update.prediction
        found = found_objects(prediction, boxes, labels)
        ever = found if ever is None else ever | found
        shares.append(found.mean())
    assert ever is not None
    return float(np.mean(shares)), float(ever.mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--weights", default="pelee-voc")
    args = parser.parse_args()
    detector = Detector.load(args.weights, mode="throughput")
    film = Film(list(open_dataset("voc", args.root, "2007-minival").records))
    total = len(Tiling().tiles(WIDTH, HEIGHT, detector.input_size))
    print(f"{len(film.frame(0)[1])} objects; {total} tiles in all")
    print("| tiles a frame | found per frame | found in any frame | with tracking | in any frame |\n|" + "---:|" * 5)
    for tiles in (0, 2, 4, 8, 16, 32, 64, total):
        cells = [
            f"{100 * value:.1f}"
            for track in (False, True)
            for value in recall(detector, film, tiles, args.frames, track=track)
        ]
        print(f"| {tiles} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
