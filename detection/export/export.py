"""Export of a detector to other formats, verified against its source."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from data.images.image_slice import ImageFile
from data.images.preprocess import FLOAT_WARP
from detection.export.nms_graph import ScriptedSuppression, append_nms, suppression_settings
from detection.export.verification import LIMITS, DetectorCheck, verify
from detection.inference.options import evaluation_options
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from pelee.export.calibration import Calibration
from pelee.export.exporter import check_request, check_source, export
from pelee.export.graph import Graph
from weights.store import ModelFile


def export_detector(
    source: ModelFile,
    folder: Path | str,
    form: str,
    check: DetectorCheck,
    *,
    nms: bool = True,
    calibration: Calibration | None = None,
) -> ModelFile:
    """Write a detector's export and return it; see `pelee.export.exporter.export` for the folder and the errors.

    Args:
        source: the weights; they run in PyTorch, in f32, as the reference.
        folder: output folder.
        form: one of `pelee.runtime.backends.FORMATS`.
        check: data of the verification.
        nms: append NMS at the thresholds of the evaluation (`detection.export.nms_graph`); without it, the
            graph returns scores and boxes as `detection.inference.detection_session.DetectionSession` describes them.
        calibration: images for int8 quantization.
    """
    check_source(source, "detection", check.images)
    check_request(Path(folder), form, calibration is not None, nms)
    input_type = torch.float32 if source.card.resize == FLOAT_WARP else torch.uint8
    graph = Graph(DetectionGraph(load_network(source)).eval(), ("scores", "boxes"), input_type=input_type)
    if nms:
        options = evaluation_options(source.card)
        graph = replace(
            graph,
            onnx_tail=partial(append_nms, options=options),
            scripted_tail=ScriptedSuppression(options),
            nms=True,
            settings={"suppression": suppression_settings(options)},
        )
    limits = LIMITS["int8" if calibration else "f32"]
    return export(source, graph, folder, form, lambda made: verify(source, made, check, limits), calibration)


def write_trained(
    model: ModelFile, folder: Path, form: str, images: Sequence[ImageFile], calibration: Calibration | None
) -> ModelFile:
    """Write an export at the end of a training, as `pelee.export.trained_model.ExportPlan.write`.

    Without NMS in the graph, which is faster: the detector's own NMS reads no more than the candidates.
    """
    return export_detector(model, folder, form, DetectorCheck(images), nms=False, calibration=calibration)
