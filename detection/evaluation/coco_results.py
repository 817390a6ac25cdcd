"""Result file of COCO's evaluation server, for splits whose annotations are not public (test-dev)."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.atomic_files import atomic_path
from data.datasets.records import Dataset
from data.errors import DatasetError, ImageError
from data.images.image_io import read_image
from data.images.prefetch import prefetch
from data.progress_bar import progress_bar
from detection.inference.prediction import Prediction

WORKERS = 4  # threads that read images


def write_coco_results(
    detect: Callable[[list[np.ndarray]], list[Prediction]],
    dataset: Dataset,
    category_ids: Sequence[int],
    file: Path,
    *,
    batch: int = 16,
) -> int:
    """Detect in all images of a split and write the list of results that the server takes.

    Each result is {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

    Args:
        detect: as for `detection.evaluation.evaluate.evaluate`.
        dataset: the split, with COCO's image ids; its labels are those of `detect`.
        category_ids: category id of each label.
        file: the file to write.
        batch: images per call.

    Returns:
        Number of results.

    Raises:
        DatasetError: an image cannot be read, or its id is no number.
    """
    results: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    ids: list[int] = []

    def flush() -> None:
        for image_id, prediction in zip(ids, detect(images), strict=True):
            results.extend(_results(image_id, prediction, category_ids))
        ids.clear()
        images.clear()

    records = dataset.records
    with progress_bar("detecting", len(records)) as advance:
        for record, image in prefetch(records, lambda record: read_image(record.image), workers=WORKERS, ahead=batch):
            if isinstance(image, ImageError):
                raise DatasetError(f"{image}; the server needs the results of all images: repair the dataset")
            if not record.image_id.isdecimal():
                raise DatasetError(f"{record.image}: its id is {record.image_id!r}; expected a number, as in COCO")
            ids.append(int(record.image_id))
            images.append(image)
            if len(images) == batch:
                flush()
            advance(1)
        if images:
            flush()
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")
    return len(results)


def _results(image_id: int, prediction: Prediction, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(score, 5),
        }
        for (x1, y1, x2, y2), score, label in zip(*(part.tolist() for part in prediction), strict=True)
    ]
