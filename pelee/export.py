"""Other formats of a network: a torch graph to ONNX, OpenVINO or TorchScript, in f32 or int8, checked before it counts.

An export is a folder: the model's files, `card.json` (its source's) and `export.json` (`weights.export_manifest`).
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import DatasetError, SettingsError, WeightsError
from data.images.image_io import find_pictures, read_image
from data.images.preprocess import preprocess
from pelee.networks.layers import fuse_conv_bn
from weights.card import CARD_NAME, Card
from weights.export_manifest import EXPORT_NAME, SUFFIXES, Export, file_sha256
from weights.store import ModelFile

if TYPE_CHECKING:
    import onnx

    Tail = Callable[[onnx.ModelProto], onnx.ModelProto]

FORMATS = tuple(SUFFIXES)
OPSET = 20  # of ONNX: the exporter's own
INPUT = "images"
CALIBRATION_PICTURES = 300
COMPARED_PICTURES = 500
# The libraries whose versions decide what is written.
LIBRARIES = {
    "onnx": ("torch", "onnx", "onnxscript"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
    "torchscript": ("torch",),
}


@dataclass(frozen=True)
class Graph:
    """What is exported.

    Attributes:
        module: (N, S, S, 3) uint8 -> a tensor or several, each with N first; its batch norms are fused in place.
        outputs: their names.
        onnx_tail: adds to the ONNX graph what stands behind them, where tracing cannot say it.
        scripted_tail: the same for TorchScript: takes two outputs, gives three.
        nms: whether the tail suppresses.
        settings: what the tail was made with.
    """

    module: nn.Module
    outputs: Sequence[str]
    onnx_tail: "Tail | None" = None
    scripted_tail: nn.Module | None = None
    nms: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """What int8 is calibrated on: pictures as the network takes them, (S, S, 3) uint8 RGB, and where they came from."""

    pictures: Sequence[np.ndarray]
    source: str


Verify = Callable[[ModelFile], dict[str, Any]]
"""Compares an export with its source and returns the report; raises `WeightsError` where it is another model."""


def export(
    source: ModelFile,
    graph: Graph,
    folder: Path | str,
    form: str,
    verify: Verify,
    calibration: Calibration | None = None,
) -> ModelFile:
    """Write an export's folder: made aside, verified, and put in the place of an older one only then.

    Args:
        source: the weights that `graph` was built from.
        graph: what to export.
        folder: where to; it must not exist, be empty, or hold an export that is to be replaced.
        form: one of `FORMATS`.
        verify: the check; its report goes into `export.json`.
        calibration: for int8; without, the model stays f32.

    Raises:
        SettingsError: an unknown format, int8 where a format has none, or a folder that holds something else.
        WeightsError: the check failed; whatever stood in `folder` is untouched.
    """
    folder = Path(folder).expanduser()
    check_request(folder, form, calibration is not None)
    size = source.card.input_size
    fuse_conv_bn(graph.module)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        metadata = _metadata(source.card, graph)
        path = aside / f"model{SUFFIXES[form]}"
        with _quiet():
            if form == "torchscript":
                _write_torchscript(path, graph, size, metadata)
            else:
                _write_graph(path, graph, size, metadata, form, calibration)
        (aside / CARD_NAME).write_text(source.card.to_json(), encoding="utf-8")
        names = [path, *sorted(other for other in aside.iterdir() if other not in (path, aside / CARD_NAME))]
        made = Export(
            format=form,
            precision="int8" if calibration else "f32",
            nms=graph.nms,
            input_size=size,
            source_sha256=source.card.sha256,
            files={name.name: file_sha256(name) for name in names},
            versions=_versions(form, calibration is not None),
            settings=graph.settings | _calibration_settings(calibration),
        )
        made = replace(made, verification=verify(ModelFile(source.card, path, made)))
        (aside / EXPORT_NAME).write_text(made.to_json(), encoding="utf-8")
        _put(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ModelFile(source.card, folder / path.name, made)


def check_source(source: ModelFile, task: str, pictures: Sequence[Path]) -> None:
    """Raise on a model that is none to export for `task`, and where there is no picture to verify the export on."""
    if source.export is not None:
        raise SettingsError(f"{source.path.parent} is an export already, expected the weights to make one from")
    if source.card.task != task:
        raise WeightsError(f"{source.card.name}: a model for {source.card.task}, expected one for {task}")
    if not pictures:
        raise SettingsError("no pictures to verify the export on; name some with --pictures")


def check_request(folder: Path, form: str, int8: bool) -> None:
    """Raise `SettingsError` for what cannot be written, before the minutes of work."""
    if form not in FORMATS:
        raise SettingsError(f"unknown format {form!r}, expected one of {', '.join(FORMATS)}")
    if int8 and form == "torchscript":
        raise SettingsError("torchscript has no int8 here; take openvino or onnx")
    if folder.is_file():
        raise SettingsError(f"{folder} is a file, expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / EXPORT_NAME).is_file():
        raise SettingsError(f"{folder} holds other files than an export; name a new folder")


def choose(paths: Sequence[Path], count: int) -> list[Path]:
    """The same `count` of the pictures at every call, at random, in their order; all where there are fewer."""
    return sorted(random.Random(0).sample(list(paths), min(count, len(paths))))


def read_inputs(paths: Sequence[Path], size: int) -> Iterator[np.ndarray]:
    """Pictures as the network takes them: (S, S, 3) uint8 RGB."""
    return (preprocess(read_image(path), size) for path in paths)


def calibrate_on(
    pictures: Path | Sequence[Path], size: int, source: str = "", count: int = CALIBRATION_PICTURES
) -> Calibration:
    """`count` pictures for int8 at the network's size: of a folder, or of a list that `source` names.

    Raises:
        DatasetError, ImageError: none there, or one that cannot be read.
    """
    if isinstance(pictures, Path):
        if not pictures.is_dir():
            raise DatasetError(f"{pictures}: no such folder, expected one with pictures to calibrate int8 on")
        source = source or pictures.resolve().name
        pictures = find_pictures([pictures])
    return Calibration(list(read_inputs(choose(pictures, count), size)), source)


def _put(aside: Path, folder: Path) -> None:
    """Rename a whole folder into its place; an older one is there until the new one is."""
    aside.chmod(0o755)  # mkdtemp makes private folders
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.absolute().parent))
    folder.rename(old / folder.name)
    try:
        aside.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write_graph(
    path: Path, graph: Graph, size: int, metadata: dict[str, str], form: str, calibration: Calibration | None
) -> None:
    """Write ONNX, or OpenVINO by way of ONNX."""
    import onnx

    model = _to_onnx(graph.module, size, graph.outputs)
    if form == "onnx":
        if calibration is not None:
            model = _quantize(model, _onnx_kept(model), calibration)
        if graph.onnx_tail is not None:
            model = graph.onnx_tail(model)
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return
    if graph.onnx_tail is not None:
        model = graph.onnx_tail(model)
    from pelee.runtime.openvino import import_openvino

    openvino = import_openvino()
    network = openvino.Core().read_model(io.BytesIO(model.SerializeToString()))
    for output, name in zip(network.outputs, (output.name for output in model.graph.output), strict=True):
        output.tensor.set_names({name})
    if calibration is not None:
        network = _quantize(network, _openvino_kept(network), calibration)
    for key, value in metadata.items():
        network.set_rt_info(value, ["pelee", key])
    # The name and form by which OpenVINO's own tools look for class names.
    labels = " ".join(name.replace(" ", "_") for name in json.loads(metadata["class_names"]))
    network.set_rt_info(labels, ["model_info", "labels"])
    openvino.save_model(network, path, compress_to_fp16=False)


def _to_onnx(module: nn.Module, size: int, outputs: Sequence[str]) -> "onnx.ModelProto":
    """The graph with a free batch; without the exporter's notes, which hold this machine's paths."""
    import onnx

    program = torch.onnx.export(
        module,
        (_example(size),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=[INPUT],
        output_names=list(outputs),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for noted in (
        model.graph,
        *(part for parts in (model.graph.node, model.graph.input, model.graph.output) for part in parts),
        *(part for parts in (model.graph.value_info, model.graph.initializer) for part in parts),
    ):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    del model.graph.value_info[:]  # inferred again by who needs it
    model.graph.name = "pelee"
    return model


def _write_torchscript(path: Path, graph: Graph, size: int, metadata: dict[str, str]) -> None:
    traced = torch.jit.trace(graph.module, _example(size), check_trace=False)
    if graph.scripted_tail is not None:
        traced = torch.jit.script(_Chain(traced, torch.jit.script(graph.scripted_tail)))
    torch.jit.save(traced, str(path), _extra_files=metadata)


class _Chain(nn.Module):
    """A graph of two outputs and what becomes of them."""

    def __init__(self, graph: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.tail = tail

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = self.graph(images)
        return self.tail(first, second)


def _example(size: int) -> Tensor:
    return torch.zeros(2, size, size, 3, dtype=torch.uint8)  # two: a batch of one would be taken for fixed


def _quantize(model: Any, kept: list[str], calibration: Calibration) -> Any:
    """NNCF's post-training quantisation of all but the nodes `kept`.

    What computes scores and coordinates stays f32, and so do the layers that give the answers: with int8 heads, 2% of
    the work, pelee-voc lost 0.7 points of mAP on a thousand pictures, and without 0.0.
    """
    from pelee.runtime.openvino import import_openvino

    import_openvino()  # before nncf does, so that nothing is reported home
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # where a progress bar belongs
        return nncf.quantize(
            model,
            nncf.Dataset([{INPUT: picture[None]} for picture in calibration.pictures]),
            subset_size=len(calibration.pictures),
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
            ignored_scope=nncf.IgnoredScope(names=kept),
        )


def _openvino_kept(network: Any) -> list[str]:
    """Names of the nodes that stay f32: the last convolutions and matrix products, and all that comes after them."""
    kept: list[str] = []
    inner: set[str] = set()  # nodes that lead to a weight, and those with one
    for node in reversed(network.get_ordered_ops()):
        name, kind = node.get_friendly_name(), node.get_type_name()
        followers = {target.get_node().get_friendly_name() for o in node.outputs() for target in o.get_target_inputs()}
        is_last = inner.isdisjoint(followers)
        if not is_last or kind in ("Convolution", "GroupConvolution", "MatMul"):
            inner.add(name)
        if is_last and kind not in ("Constant", "Parameter", "Result"):
            kept.append(name)
    return kept


def _onnx_kept(model: "onnx.ModelProto") -> list[str]:
    """As `_openvino_kept`; ONNX lists nodes in their order."""
    kept: list[str] = []
    inner: set[str] = set()  # tensors that lead to a weight
    for node in reversed(model.graph.node):
        is_last = inner.isdisjoint(node.output)
        if not is_last or node.op_type in ("Conv", "MatMul", "Gemm"):
            inner.update(node.input)
        if is_last and node.op_type != "Constant":
            kept.append(node.name)
    return kept


def _metadata(card: Card, graph: Graph) -> dict[str, str]:
    """What the model's own file says of it: plain strings."""
    return {
        "class_names": json.dumps(card.class_names, ensure_ascii=False),
        "nms": json.dumps(graph.nms),
        "card": json.dumps(json.loads(card.to_json()), ensure_ascii=False),
    }


def _versions(form: str, int8: bool) -> dict[str, str]:
    names = (*LIBRARIES[form], *(("nncf",) if int8 else ()))
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return {name: importlib.metadata.version(name) for name in ("pelee", *names)}
    return {name: importlib.metadata.version(name) for name in names}


def _calibration_settings(calibration: Calibration | None) -> dict[str, Any]:
    if calibration is None:
        return {}
    return {"calibration": {"source": calibration.source, "pictures": len(calibration.pictures)}}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice to themselves; their errors are raised."""
    names = ("torch.onnx", "torch.utils.cpp_extension", "onnxscript", "onnx_ir", "nncf")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
