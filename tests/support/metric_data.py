"""Toy ground truths and predictions for tests of the metrics."""

from pathlib import Path

import numpy as np

from data.datasets.records import Record
from detection.inference.prediction import Prediction

BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)


def truth(
    *objects: tuple[tuple[float, ...], int], difficult: tuple[int, ...] = (), crowd: tuple[int, ...] = ()
) -> Record:
    """A record of (box, label) objects; `difficult` and `crowd` are their indices."""
    count = len(objects)
    boxes = np.array([box for box, _ in objects], np.float32).reshape(count, 4)
    return Record(
        image=Path("a.jpg"),
        image_id="a",
        boxes=boxes,
        labels=np.array([label for _, label in objects], np.int64),
        difficult=np.isin(np.arange(count), difficult),
        crowd=np.isin(np.arange(count), crowd),
        areas=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )


def found(*detections: tuple[tuple[float, ...], float, int]) -> Prediction:
    """A prediction of (box, score, label) detections."""
    return Prediction(
        np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in detections], np.float32),
        np.array([label for _, _, label in detections], np.int64),
    )


def synthetic(
    seed: int, pictures: int = 60, classes: int = 4, difficult: float = 0.15
) -> tuple[list[Prediction], list[Record]]:
    """Ground truth, and detections that are it with jitter, duplicates, wrong classes and noise; distinct scores."""
    rng = np.random.default_rng(seed)
    records, predictions = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 7))
        size, corner = rng.uniform(15, 150, (count, 2)), rng.uniform(0, 350, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = rng.integers(0, classes, count)
        hard = tuple(np.flatnonzero(rng.random(count) < difficult).tolist())
        objects = [(tuple(box), int(label)) for box, label in zip(boxes.tolist(), labels, strict=True)]
        records.append(truth(*objects, difficult=hard))
        repeated = np.repeat(np.arange(count), rng.integers(0, 3, count))
        jitter = rng.normal(0, 0.1, (len(repeated), 4)) * np.tile(size[repeated], 2)
        wrong = rng.random(len(repeated)) < 0.1
        noise = rng.uniform(0, 350, (5, 2))
        predictions.append(
            Prediction(
                np.concatenate([boxes[repeated] + jitter, np.concatenate([noise, noise + 60], axis=1)]).astype(
                    np.float32
                ),
                np.concatenate([rng.beta(4, 2, len(repeated)), rng.beta(1, 4, 5)]).astype(np.float32),
                np.concatenate(
                    [np.where(wrong, (labels[repeated] + 1) % classes, labels[repeated]), rng.integers(0, classes, 5)]
                ).astype(np.int64),
            )
        )
    return predictions, records
