"""Count of the objects whose annotation says more than a box: segments of COCO, polygons and keypoints of YOLO."""

from pathlib import Path

from data.datasets.coco import read_json
from data.datasets.coco_annotations import text_id
from data.datasets.records import Dataset
from data.datasets.yolo_labels import LabelFiles
from data.files.text_files import read_text

_BOX_NUMBERS = 5  # of a YOLO line: class, center, width, height


def count_shapes(format_name: str, root: Path, dataset: Dataset) -> int:
    """Return the number of objects of a split that have a mask, polygon or keypoints, which a box does not hold.

    Args:
        format_name: name of the dataset's format; only coco and yolo have such objects.
        root: the dataset's root.
        dataset: the split.
    """
    if format_name == "coco":
        images = {record.image_id for record in dataset.records}
        annotations = read_json(root, dataset.split).get("annotations") or []
        return sum(
            bool(item.get("segmentation") or item.get("keypoints"))
            for item in annotations
            if isinstance(item, dict) and text_id(item.get("image_id")) in images
        )
    if format_name != "yolo":
        return 0
    labels = LabelFiles()
    found = (labels.find(record.image) for record in dataset.records if isinstance(record.image, Path))
    return sum(
        len(line.split()) > _BOX_NUMBERS for file in found if file is not None for line in read_text(file).splitlines()
    )
