"""Manifest of an exported model, `export.json`: its files, their source, and the report of their verification."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from data.errors import WeightsError

EXPORT_NAME = "export.json"
FORMAT_VERSION = 1
# format -> the suffix of the file that its runtime opens
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".torchscript", "litert": ".tflite", "ncnn": ".param"}
PRECISIONS = ("f32", "int8")


@dataclass(frozen=True, slots=True)
class Export:
    """Content of `export.json`. An inconsistent manifest raises `WeightsError` when it is created.

    Attributes:
        format: one of `SUFFIXES`.
        precision: one of `PRECISIONS`, of the weights and of the computation.
        nms: whether the graph of a detector includes non-maximum suppression.
        input_size: side of the square input, pixels; the batch is free.
        source_sha256: SHA-256 of the source's weights.
        files: name -> SHA-256 of every file of the model; the first one is opened by the runtime.
        versions: versions of the program and of the libraries that wrote it.
        settings: thresholds of non-maximum suppression, calibration of int8.
        verification: report of the comparison with the source; see `detection.export.export` and
            `pelee.classification.export`.
        format_version: version of this format.
    """

    format: str
    precision: str
    nms: bool
    input_size: int
    source_sha256: str
    files: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Validate the fields that loading relies on; the error names the field."""
        if self.format_version != FORMAT_VERSION:
            raise WeightsError(_other_version(self.format_version))
        for name, known in (("format", tuple(SUFFIXES)), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise WeightsError(f"field {name!r} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        kinds = {"nms": bool, "input_size": int, "source_sha256": str, "files": dict, "versions": dict}
        for name, kind in (kinds | {"settings": dict, "verification": dict}).items():
            if not isinstance(getattr(self, name), kind):
                raise WeightsError(f"field {name!r} is {getattr(self, name)!r}, expected a {kind.__name__}")
        # Paths out of the folder are rejected.
        plain = all(isinstance(name, str) and Path(name).name == name and "\\" not in name for name in self.files)
        if not plain or not next(iter(self.files), "").endswith(SUFFIXES[self.format]):
            raise WeightsError(
                f"field 'files' is {list(self.files)}, expected names in this folder, first a {SUFFIXES[self.format]}"
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest of an export's folder. Raises `WeightsError` on a missing, damaged or invalid file."""
        path = folder / EXPORT_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such file, expected an exported model's description") from None
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{path}: is not valid JSON ({error}), expected an export's description") from None
        known = {item.name for item in dataclasses.fields(cls)}
        try:
            if not isinstance(values, dict):
                raise WeightsError("holds no JSON object")
            if (version := values.get("format_version")) != FORMAT_VERSION:
                raise WeightsError(_other_version(version))  # first, as another version may have other fields
            if set(values) != known:
                raise WeightsError(f"unknown or missing fields: {', '.join(sorted(set(values) ^ known))}")
            return cls(**values)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """Return the manifest as indented JSON with a final newline."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def verify(self, folder: Path) -> None:
        """Raise `WeightsError` unless every file exists and has its SHA-256."""
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise WeightsError(f"{path}: no such file, expected a part of the export; export the model again")
            found = file_sha256(path)
            if found != expected:
                raise WeightsError(
                    f"{path}: SHA-256 is {found[:12]}, expected {expected[:12]}: "
                    "the file is damaged or not the one that was exported; export the model again"
                )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _other_version(found: object) -> str:
    return (
        f"field 'format_version' is {found!r}, this program reads {FORMAT_VERSION}: "
        "use the version of the project that made the export, or export again"
    )
