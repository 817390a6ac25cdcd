"""Files of a part: rows of results as Parquet or JSON Lines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import numpy as np

from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_dict

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, JSON_LINES = ".parquet", ".jsonl"
ROWS = 10_000  # rows of a Parquet row group: bound of those in memory
EMPTY = Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Result of one image.

    Attributes:
        source: name of the image.
        width, height: pixels of the upright image; 0 for one that could not be read.
        prediction: detections.
        error: reason why the image could not be read; None for one that was.
        warning: what is wrong with an image that was read: the JPEG is cut off.
    """

    source: str
    width: int = 0
    height: int = 0
    prediction: Prediction = EMPTY
    error: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of the model that each row repeats: name, SHA-256 of the weights, runtime, and class names by label."""

    name: str
    sha256: str
    runtime: str
    class_names: Sequence[str]


class PartFile(Protocol):
    """File of a part under construction."""

    def add(self, row: ImageRow) -> None:
        """Append a row."""

    def finish(self) -> bytes:
        """Return the content of the file."""


class ParquetPart:
    """Part in Parquet: one row an image, the detections as a list of structs."""

    def __init__(self, facts: ModelFacts) -> None:
        """Take the facts of the model."""
        from pyarrow.parquet import ParquetWriter

        self._facts = facts
        self._rows: list[ImageRow] = []
        self._content = BytesIO()
        self._schema = parquet_schema()
        self._writer = ParquetWriter(self._content, self._schema, compression="zstd")

    def add(self, row: ImageRow) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) == ROWS:
            self._flush()

    def finish(self) -> bytes:
        """Return the content of the file."""
        self._flush()
        self._writer.close()
        return self._content.getvalue()

    def _flush(self) -> None:
        import pyarrow as pa

        rows, count = self._rows, len(self._rows)
        if not rows:
            return
        columns = {
            "source": [valid_text(row.source) for row in rows],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "model": [self._facts.name] * count,
            "model_sha256": [self._facts.sha256] * count,
            "runtime": [self._facts.runtime] * count,
            "error": [None if row.error is None else valid_text(row.error) for row in rows],
            "warning": [None if row.warning is None else valid_text(row.warning) for row in rows],
        }
        arrays = [pa.array(column, self._schema.field(name).type) for name, column in columns.items()]
        self._writer.write_table(pa.table([*arrays, self._detections(rows)], schema=self._schema))
        self._rows = []

    def _detections(self, rows: Sequence[ImageRow]) -> "pa.ListArray":
        """Detections of the rows, float32 as the network gives them."""
        import pyarrow as pa

        found = [row.prediction for row in rows]
        offsets = np.cumsum([0, *(len(prediction.labels) for prediction in found)], dtype=np.int32)
        labels = np.concatenate([prediction.labels for prediction in found])
        boxes = np.concatenate([prediction.boxes for prediction in found]).astype(np.float32).reshape(-1, 4)
        scores = np.concatenate([prediction.scores for prediction in found]).astype(np.float32)
        kind = self._schema.field("detections").type
        names = pa.array([self._facts.class_names[label] for label in labels.tolist()], pa.string())
        values = [names, pa.array(labels, pa.int32()), pa.array(scores), *map(pa.array, np.ascontiguousarray(boxes.T))]
        structs = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
        return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)


class JsonLinesPart:
    """Part in JSON Lines: lines of `pelee-detect --json` with the other columns of `ParquetPart`."""

    def __init__(self, facts: ModelFacts) -> None:
        """Take the facts of the model."""
        self._facts = facts
        self._content = BytesIO()

    def add(self, row: ImageRow) -> None:
        """Append a row."""
        line = to_dict(row.source, 0, row.width, row.height, row.prediction, self._facts.class_names)
        line |= {"model": self._facts.name, "model_sha256": self._facts.sha256, "runtime": self._facts.runtime}
        line |= {"error": row.error, "warning": row.warning}
        self._content.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def finish(self) -> bytes:
        """Return the content of the file."""
        return self._content.getvalue()


def open_part(suffix: str, facts: ModelFacts) -> PartFile:
    """Return a new part in the format of `suffix`, `PARQUET` or `JSON_LINES`."""
    return ParquetPart(facts) if suffix == PARQUET else JsonLinesPart(facts)


def parquet_schema() -> "pa.Schema":
    """Return the columns of a part."""
    import pyarrow as pa

    box = [("x1", pa.float32()), ("y1", pa.float32()), ("x2", pa.float32()), ("y2", pa.float32())]
    detection = pa.struct([("label", pa.string()), ("class_id", pa.int32()), ("score", pa.float32()), *box])
    return pa.schema(
        [
            ("source", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("model", pa.string()),
            ("model_sha256", pa.string()),
            ("runtime", pa.string()),
            ("error", pa.string()),
            ("warning", pa.string()),
            ("detections", pa.list_(detection)),
        ]
    )


def valid_text(text: str) -> str:
    """Return the text in UTF-8: bytes of a file name that are none become \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
