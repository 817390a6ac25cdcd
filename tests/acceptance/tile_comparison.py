"""Tiled detection beside supervision's InferenceSlicer and SAHI: mAP and time, same images, same detector.

    python -m tests.acceptance.tile_comparison --root VOCdevkit [--split 2007-minival] [--images N]

SAHI is compared where it is installed. The methods take turns on each image, so that a busy machine slows them alike.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import supervision as sv

from data.datasets.registry import open_dataset
from data.images.image_io import read_image
from detection.detector import Detector
from detection.evaluation.coco_ap import evaluate_coco
from detection.evaluation.voc_ap import evaluate_voc
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_detections
from detection.inference.thresholds import NMS_THRESHOLD, SCORE_THRESHOLD, TILE_OVERLAP
from detection.tiling.tiling import Tiling

Method = Callable[[np.ndarray], Prediction]


def ours(detector: Detector, tiles: str) -> Method:
    """Detector's own tiles."""
    tiling = Tiling.parse(tiles)
    return lambda image: detector.predict_batch([image], tiling=tiling)[0]


def slice_size(image: np.ndarray, rows: int, columns: int) -> tuple[int, int]:
    """Width and height of the tiles of a grid with the overlap of `detection.tiling`, pixels."""
    height, width = image.shape[:2]
    return (
        int(np.ceil(width / (columns - (columns - 1) * TILE_OVERLAP))),
        int(np.ceil(height / (rows - (rows - 1) * TILE_OVERLAP))),
    )


def inference_slicer(detector: Detector, rows: int, columns: int, *, whole: bool) -> Method:
    """supervision's slices with its NMS; with `whole` the detections of the whole image are among them."""

    def detect(part: np.ndarray) -> sv.Detections:
        return to_detections(detector.predict_batch([part])[0], detector.class_names)

    def run(image: np.ndarray) -> Prediction:
        width, height = slice_size(image, rows, columns)
        overlap = (round(TILE_OVERLAP * width), round(TILE_OVERLAP * height))
        slicer = sv.InferenceSlicer(detect, slice_wh=(width, height), overlap_wh=overlap, iou_threshold=NMS_THRESHOLD)
        found = slicer(image)
        if whole:
            found = sv.Detections.merge([detect(image), found]).with_nms(NMS_THRESHOLD)
        return best_first(found.xyxy, found.confidence, found.class_id)

    return run


def sahi_slices(detector: Detector, rows: int, columns: int, postprocess: str) -> Method:
    """SAHI's slices, the whole image among them as it does by default, with one of its ways to merge."""
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    class PeleeModel(DetectionModel):  # type: ignore[misc]
        def load_model(self) -> None:
            self.model = detector
            self.category_mapping = {str(index): name for index, name in enumerate(detector.class_names)}

        def check_dependencies(self, packages: list[str] | None = None) -> None:
            pass

        def set_device(self, device: str | None = None) -> None:
            pass

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = detector.predict_batch([np.ascontiguousarray(image)])[0]

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = ((0, 0),), full_shape_list: Any = None
        ) -> None:
            shift = shift_amount_list[0] if np.ndim(shift_amount_list) == 2 else shift_amount_list
            shape = (
                full_shape_list[0] if full_shape_list is not None and np.ndim(full_shape_list) == 2 else full_shape_list
            )
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=box,
                        category_id=label,
                        category_name=detector.class_names[label],
                        score=score,
                        shift_amount=list(shift),
                        full_shape=shape,
                    )
                    for box, score, label in zip(*(part.tolist() for part in self._original_predictions), strict=True)
                    if box[2] > box[0] and box[3] > box[1]
                ]
            ]

    model = PeleeModel(confidence_threshold=SCORE_THRESHOLD)

    def run(image: np.ndarray) -> Prediction:
        width, height = slice_size(image, rows, columns)
        found = get_sliced_prediction(
            image,
            model,
            slice_height=height,
            slice_width=width,
            overlap_height_ratio=TILE_OVERLAP,
            overlap_width_ratio=TILE_OVERLAP,
            postprocess_type=postprocess,
            postprocess_match_metric="IOU" if postprocess == "NMS" else "IOS",
            postprocess_match_threshold=NMS_THRESHOLD if postprocess == "NMS" else 0.5,
            force_postprocess_type=True,
            verbose=0,
        ).object_prediction_list
        return best_first(
            np.array([one.bbox.to_xyxy() for one in found]).reshape(-1, 4),
            np.array([one.score.value for one in found]),
            np.array([one.category.id for one in found], np.int64),
        )

    return run


def best_first(boxes: np.ndarray, scores: Any, labels: Any) -> Prediction:
    """Prediction of arrays in any order."""
    order = np.argsort(-scores, kind="stable")
    return Prediction(boxes[order].astype(np.float32), scores[order].astype(np.float32), labels[order])


def methods(weights: str) -> Iterator[tuple[str, Method]]:
    """Names and methods, in the order of the table; each with the detector in the mode in which it is faster."""
    detector, parallel = Detector.load(weights), Detector.load(weights, mode="throughput")
    yield "pelee, tiles off", ours(detector, "off")
    for tiles in ("2", "2x3", "2+3", "auto"):
        yield f"pelee, tiles {tiles}", ours(parallel, tiles)
    yield "InferenceSlicer 2 × 2", inference_slicer(detector, 2, 2, whole=False)
    yield "InferenceSlicer 2 × 2 and the whole image", inference_slicer(detector, 2, 2, whole=True)
    if importlib.util.find_spec("sahi"):
        yield "SAHI 2 × 2 (its default, GREEDYNMM)", sahi_slices(detector, 2, 2, "GREEDYNMM")
        yield "SAHI 2 × 2, NMS", sahi_slices(detector, 2, 2, "NMS")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="2007-minival")
    parser.add_argument("--weights", default="pelee-voc")
    parser.add_argument("--images", type=int, default=None)
    args = parser.parse_args()
    dataset = open_dataset("voc", args.root, args.split)
    records = dataset.records[: args.images]
    compared = list(methods(args.weights))
    predictions: dict[str, list[Prediction]] = {name: [] for name, _ in compared}
    seconds: dict[str, list[float]] = {name: [] for name, _ in compared}
    for record in records:
        image = read_image(record.image)
        for name, method in compared:
            start = time.perf_counter()
            predictions[name].append(method(image))
            seconds[name].append(time.perf_counter() - start)
    print("| method | mAP 11-point | COCO AP | small | medium | large | ms |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, found in predictions.items():
        voc = evaluate_voc(found, records, dataset.class_names)
        coco = evaluate_coco(found, records, dataset.class_names).numbers
        numbers = [voc.map_11point, *(coco[key] for key in ("AP", "APs", "APm", "APl"))]
        row = " | ".join(f"{100 * number:.1f}" for number in numbers)
        print(f"| {name} | {row} | {1000 * np.median(seconds[name]):.0f} |")


if __name__ == "__main__":
    main()
