"""What the tests of training read of a run's output."""

import csv
from pathlib import Path
from typing import Any

import torch

from data.datasets.records import Dataset
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.evaluation.voc_ap import evaluate_voc
from detection.inference.nms import postprocess
from detection.models.inference_model import DetectionGraph
from detection.models.network import DetectorNetwork


def load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def read_csv(output: Path) -> list[dict[str, str]]:
    """The rows of all logs of an output folder, in the order of their writing."""
    logs = output / "logs"
    files = [*sorted(logs.glob("metrics-*.csv")), logs / "metrics.csv"]
    return [row for file in files for row in csv.DictReader(file.read_text().splitlines())]


def measure(network: DetectorNetwork, dataset: Dataset, size: int = 64) -> float:
    """The mAP of a network at `size` px, by the shortest way."""

    graph = DetectionGraph(network, size).eval()
    found = []
    for record in dataset.records:
        image = read_image(record.image)
        with torch.no_grad():
            scores, boxes = graph(torch.from_numpy(preprocess(image, size))[None])
        height, width = image.shape[:2]
        found.append(postprocess(scores[0].numpy(), boxes[0].numpy(), width=width, height=height))
    return evaluate_voc(found, dataset.records, dataset.class_names).map_11point
