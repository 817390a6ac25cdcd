"""Exports at the end of a training: OpenVINO, f32 and int8, in subfolders of the model's folder. Imports no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.errors import ImageError

if TYPE_CHECKING:
    from data.images.image_slice import ImageFile
    from pelee.export.calibration import Calibration
    from weights.store import ModelFile

    Writer = Callable[[ModelFile, Path, str, Sequence[ImageFile], Calibration | None], ModelFile]

FORMAT = "openvino"
COMPARED = 200  # images of the verification
PACKAGES = ("nncf", "onnx", "onnxscript", "openvino")


@dataclass(frozen=True)
class ExportPlan:
    """Exports of a trained model.

    Attributes:
        write: (model, folder, format, images of the verification, calibration) -> export, verified.
        training: training images, of which int8 is calibrated on.
        source: name of the training split.
        held_out: validation images, of which the exports are verified on.
    """

    write: Writer
    training: Sequence[ImageFile]
    source: str
    held_out: Sequence[ImageFile]


class ExportResult(NamedTuple):
    """Folder of an export, and why it was not written; empty if it was."""

    precision: str
    folder: Path
    problem: str


def missing_packages() -> list[str]:
    """Return the packages of the extra `export` that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def export_trained(model: ModelFile, plan: ExportPlan) -> Iterator[ExportResult]:
    """Write the f32 and the int8 export of a model into its folder; a failed one is a result, never an error."""
    from pelee.export.calibration import CALIBRATION_IMAGES, Calibration, read_inputs

    for precision in ("f32", "int8"):
        folder = model.path.parent / f"{FORMAT}-{precision}"
        problem = ""
        try:
            calibration = None
            if precision == "int8":
                chosen = _readable(plan.training, CALIBRATION_IMAGES)
                calibration = Calibration(
                    list(read_inputs(chosen, model.card.input_size, model.card.resize)), plan.source
                )
            plan.write(model, folder, FORMAT, _readable(plan.held_out, COMPARED), calibration)
        except Exception as error:  # of any library that takes part; the trained model is complete without its exports
            problem = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        yield ExportResult(precision, folder, problem)


def _readable(images: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """Choose `count` images, without those that cannot be read: training leaves them out, too."""
    from data.images.image_io import read_image
    from pelee.export.calibration import choose

    found = []
    for image in choose(images, count):
        try:
            read_image(image)
        except ImageError:
            continue
        found.append(image)
    return found
