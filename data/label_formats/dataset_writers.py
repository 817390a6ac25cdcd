"""Writers of YOLO, COCO and VOC: datasets that `data.datasets` reads, and annotation tools import."""

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np

from data.datasets.records import Record
from data.label_formats.label_writer import LabelWriter, box_rows


class YoloWriter(LabelWriter):
    """Writer of YOLO: `data.yaml`, `images/SPLIT/`, `labels/SPLIT/`; an image without objects has an empty file."""

    def __init__(self, *arguments: Any) -> None:
        """Take the arguments of `LabelWriter`."""
        super().__init__(*arguments)
        self._splits: dict[str, str] = {}

    def _image_place(self, split: str) -> str:
        return f"images/{split}"

    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        assert record.size is not None
        x1, y1, x2, y2 = (record.boxes / [*record.size, *record.size]).T
        rows = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1).tolist()
        lines = [
            f"{label} " + " ".join(f"{value:.6f}" for value in row) + "\n"
            for label, row in zip(record.labels.tolist(), rows, strict=True)
        ]
        self._write_text(f"labels/{split}/{name.rpartition('.')[0]}.txt", "".join(lines))
        self._splits[split] = f"images/{split}"

    def _final_texts(self) -> dict[str, str]:
        import yaml

        settings: dict[str, Any] = {**self._splits, "names": dict(enumerate(self.class_names))}
        return {"data.yaml": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)}


class CocoWriter(LabelWriter):
    """Writer of COCO: `annotations/instances_SPLIT.json`, `images/SPLIT/`; category ids from 1, scores as "score"."""

    keeps_crowd = True

    def __init__(self, *arguments: Any) -> None:
        """Take the arguments of `LabelWriter`."""
        super().__init__(*arguments)
        self._contents: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def _image_place(self, split: str) -> str:
        return f"images/{split}"

    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        assert record.size is not None
        content = self._contents.setdefault(split, {"images": [], "annotations": []})
        number = len(content["images"]) + 1
        width, height = record.size
        content["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for index, (x1, y1, x2, y2) in enumerate(box_rows(record)):
            item: dict[str, Any] = {
                "id": len(content["annotations"]) + 1,
                "image_id": number,
                "category_id": int(record.labels[index]) + 1,
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                "area": round(float(record.areas[index]), 2),
                "segmentation": [],
                "iscrowd": int(record.crowd[index]),
            }
            if scores is not None:
                item["score"] = round(float(scores[index]), 4)
            content["annotations"].append(item)

    def _final_texts(self) -> dict[str, str]:
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(self.class_names)]
        return {
            f"annotations/instances_{split}.json": json.dumps(content | {"categories": categories}, ensure_ascii=False)
            for split, content in self._contents.items()
        }


class VocWriter(LabelWriter):
    """Writer of VOC: `Annotations/`, `JPEGImages/`, `ImageSets/Main/SPLIT.txt`, and `labels.txt` with the classes.

    Boxes are 1-based inclusive, as in VOC, with two decimals.
    """

    keeps_difficult = True

    def __init__(self, *arguments: Any) -> None:
        """Take the arguments of `LabelWriter`."""
        super().__init__(*arguments)
        self._ids: dict[str, list[str]] = {}

    def _image_place(self, split: str) -> str:
        return "JPEGImages"

    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        assert record.size is not None
        root = ElementTree.Element("annotation")
        _add(root, "folder", "JPEGImages")
        _add(root, "filename", name)
        size = ElementTree.SubElement(root, "size")
        for key, value in zip(("width", "height", "depth"), (*record.size, 3), strict=True):
            _add(size, key, str(value))
        _add(root, "segmented", "0")
        for index, (x1, y1, x2, y2) in enumerate(box_rows(record)):
            item = ElementTree.SubElement(root, "object")
            _add(item, "name", self.class_names[int(record.labels[index])])
            _add(item, "pose", "Unspecified")
            _add(item, "truncated", "0")
            _add(item, "difficult", str(int(record.difficult[index])))
            box = ElementTree.SubElement(item, "bndbox")
            for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True):
                _add(box, key, str(round(edge, 2)))
        ElementTree.indent(root)
        image_id = name.rpartition(".")[0]
        self._write_text(f"Annotations/{image_id}.xml", ElementTree.tostring(root, encoding="unicode") + "\n")
        self._ids.setdefault(split, []).append(image_id)

    def _final_texts(self) -> dict[str, str]:
        lists = {
            f"ImageSets/Main/{split}.txt": "".join(f"{name}\n" for name in ids) for split, ids in self._ids.items()
        }
        return {"labels.txt": "".join(f"{name}\n" for name in self.class_names)} | lists


def _add(parent: ElementTree.Element, key: str, text: str) -> None:
    ElementTree.SubElement(parent, key).text = text
