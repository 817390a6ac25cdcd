"""Writers of labelme's JSON and of CSV."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from data.datasets.records import Record
from data.label_formats.label_writer import LabelWriter, box_rows

#: Format version in labelme's files: the one of rectangles by two corners, and of flags by shape.
_LABELME_VERSION = "5.5.0"
#: Columns of the CSV; an image without objects is a row with an empty class.
COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "score")


class LabelmeWriter(LabelWriter):
    """Writer of labelme: in `SPLIT/` each image with a JSON file of its name; flags of objects are flags of shapes."""

    keeps_difficult = keeps_crowd = True

    def _image_place(self, split: str) -> str:
        return split

    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        assert record.size is not None
        shapes = [
            {
                "label": self.class_names[int(record.labels[index])],
                "points": [[x1, y1], [x2, y2]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle",
                "flags": {
                    flag: True
                    for flag, values in (("difficult", record.difficult), ("crowd", record.crowd))
                    if values[index]
                },
            }
            for index, (x1, y1, x2, y2) in enumerate(box_rows(record))
        ]
        content: dict[str, Any] = {
            "version": _LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": record.size[1],
            "imageWidth": record.size[0],
        }
        text = json.dumps(content, ensure_ascii=False, indent=2)
        self._write_text(f"{split}/{name.rpartition('.')[0]}.json", text)


class CsvWriter(LabelWriter):
    """Writer of CSV: `SPLIT.csv` with a row for each object (`COLUMNS`, pixels from 0), and `images/`."""

    def __init__(self, *arguments: Any) -> None:
        """Take the arguments of `LabelWriter`."""
        super().__init__(*arguments)
        self._rows: dict[str, list[list[Any]]] = {}

    def _image_place(self, split: str) -> str:
        return "images"

    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        assert record.size is not None
        rows = self._rows.setdefault(split, [])
        first = [f"images/{name}", *record.size]
        values = [""] * len(record.labels) if scores is None else [round(score, 4) for score in scores.tolist()]
        for label, box, score in zip(record.labels.tolist(), box_rows(record), values, strict=True):
            rows.append([*first, self.class_names[label], *box, score])
        if not len(record.labels):
            rows.append([*first, *[""] * 6])

    def _final_texts(self) -> dict[str, str]:
        return {f"{split}.csv": _csv_text([COLUMNS, *rows]) for split, rows in self._rows.items()}


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
