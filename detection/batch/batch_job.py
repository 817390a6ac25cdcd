"""Settings of a batch, and its manifest: the settings that all parts of an output folder have in common."""

import json
from dataclasses import dataclass
from typing import Any

from data.errors import SettingsError
from detection.batch.output_folder import OWN, OutputFolder
from detection.batch.part_files import PARQUET
from detection.inference.options import DetectionOptions
from detection.tiling.tiling import Tiling

MANIFEST = f"{OWN}/manifest.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """Settings of a batch, as the workers get them.

    Attributes:
        output: path or address of the output folder.
        weights: name or path of the model.
        model: the model's name.
        sha256: SHA-256 of its weights, which the workers compare with those that they find.
        runtime, device, precision, input_size: see `detection.detector.Detector.load`.
        options: thresholds and classes.
        tiling: tiles to detect in beside the whole image; None for none.
        suffix: format of the parts, `PARQUET` or `JSON_LINES`.
        cores: cores of a worker.
    """

    output: str
    weights: str
    model: str
    sha256: str
    options: DetectionOptions
    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    input_size: int | None = None
    tiling: Tiling | None = None
    suffix: str = PARQUET
    cores: int = 1

    def manifest(self) -> dict[str, Any]:
        """Settings that change the results, as JSON values. The device is none: a run may go on with another."""
        options = self.options
        confidence = options.confidence
        return {
            "version": VERSION,
            "model": self.model,
            "model_sha256": self.sha256,
            "runtime": self.runtime,
            "precision": self.precision,
            "input_size": self.input_size,
            "confidence": list(confidence) if isinstance(confidence, tuple) else confidence,
            "iou": options.iou,
            "max_detections": options.max_detections,
            "classes": None if options.classes is None else list(options.classes),
            "tiles": "off" if self.tiling is None else str(self.tiling),
            "format": self.suffix.removeprefix("."),
        }


def check_manifest(job: BatchJob, output: OutputFolder) -> None:
    """Write the manifest of a new output folder, or compare it with that of an earlier run.

    Raises:
        SettingsError: an earlier run had other settings, or the folder has parts and no manifest.
    """
    wanted = job.manifest()
    content = output.read(MANIFEST)
    if content is None:
        if any(name.endswith(job.suffix) for name in output.names()):
            raise SettingsError(f"--output {output} holds other {job.suffix} files; name a new folder")
        output.write(MANIFEST, json.dumps(wanted, indent=2).encode())
        return
    try:
        found = json.loads(content)
    except ValueError:
        raise SettingsError(f"{output}/{MANIFEST} is damaged; choose another --output") from None
    for key, value in wanted.items():
        if found.get(key) != value:
            raise SettingsError(
                f"--output {output} holds results with {key} {found.get(key)!r}, not {value!r}; give the settings of "
                "the first run, or choose another --output"
            )
