"""Where a network runs, detector or classifier: one session protocol, chosen by what the machine and the model have."""

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from data.errors import SettingsError
from pelee.runtime.session import MODES, PRECISIONS, RUNTIMES, Session
from weights.store import ModelFile, find_exports

if TYPE_CHECKING:
    from torch import nn


# What each runtime opens, the best first; torch also runs a model's own weights.
FORMATS = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnx",), "torch": ("torchscript",)}
# The extra that brings a runtime; openvino comes with the package.
EXTRAS = {"openvino": "pelee", "onnxruntime": "'pelee[onnxruntime]'", "torch": "'pelee[train]'"}


def open_session(
    model: ModelFile,
    build: Callable[[], "nn.Module"],
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    mode: str = "latency",
    compile: bool = False,
) -> Session:
    """Open a model in the runtime asked for, or in the fastest that is here.

    "auto" takes PyTorch where there is a CUDA device and torch for it; else an export that lies with the model, made
    from these very weights, int8 before f32; else PyTorch. The way of an export imports no torch.

    Args:
        model: weights, with or without exports in sub-folders, or an export itself.
        build: makes the torch graph, (N, S, S, 3) uint8 -> tensors; called where PyTorch runs the weights.
        runtime: one of `RUNTIMES`.
        device: "auto", "cpu", "cuda", or a name that the runtime knows.
        precision: one of `PRECISIONS`; bf16 runs an f32 model in bfloat16 arithmetic.
        mode: "latency" gives one batch all cores, "throughput" shares them among several in flight.
        compile: let `torch.compile` make the graph faster, which takes a minute; PyTorch only.

    Raises:
        SettingsError: a runtime, precision or device that is unknown or not here.
        WeightsError: a damaged file.
    """
    for what, value, known in (
        ("runtime", runtime, RUNTIMES),
        ("precision", precision, PRECISIONS),
        ("mode", mode, MODES),
    ):
        if value not in known:
            raise SettingsError(f"unknown {what} {value!r}, expected one of {', '.join(known)}")
    chosen, export = _choose(model, runtime, device.lower(), precision)
    if compile and (chosen != "torch" or export is not None):
        raise SettingsError(f"compile is for the torch runtime on a model's own weights, not for {chosen}")
    if importlib.util.find_spec(chosen) is None:
        raise SettingsError(f"{chosen} is not installed, and this needs it: pip install {EXTRAS[chosen]}")
    if chosen == "torch":
        from pelee.runtime.torch_session import TorchSession, load_torchscript

        graph = build() if export is None else load_torchscript(export)
        return TorchSession(graph, model.card.input_size, device=device, precision=precision, compile=compile)
    assert export is not None
    if chosen == "openvino":
        from pelee.runtime.openvino_session import OpenVinoSession

        return OpenVinoSession(export, device=device, precision=precision, mode=mode)
    from pelee.runtime.onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(export, device=device, precision=precision, mode=mode)


def _choose(model: ModelFile, runtime: str, device: str, precision: str) -> tuple[str, ModelFile | None]:
    """Return the runtime's name and the export that it opens, None for the model's own weights in torch."""
    named = model.export is not None  # the user named an export, and gets that one or nothing
    exports = [model] if named else find_exports(model)
    fitting = [
        e
        for e in exports
        if e.export is not None
        and _gives(e.export.precision, precision)
        and e.export.input_size == model.card.input_size
    ]
    # The first that is installed wins; the first of all where none is, so that the error names it.
    order = [runtime] if runtime != "auto" else ["openvino", "onnxruntime", "torch"]
    choices = [
        (name, export)
        for name in order
        for form in FORMATS[name]
        for export in sorted(fitting, key=lambda e: e.export is not None and e.export.precision != "int8")
        if export.export is not None and export.export.format == form
    ]
    if runtime == "auto":  # an ONNX file's own runtime comes before OpenVINO's reader of it
        choices.sort(key=lambda choice: choice[0] == "openvino" and _format(choice[1]) == "onnx")
    weights = None if named or runtime not in ("auto", "torch") or precision == "int8" else ("torch", None)
    if weights and (runtime == "torch" or _wants_cuda(device)):
        return weights
    installed = [choice for choice in choices if importlib.util.find_spec(choice[0])]
    if installed:
        return installed[0]
    if weights and (importlib.util.find_spec("torch") or not choices):
        return weights
    if choices:
        return choices[0]
    raise SettingsError(_nothing_fits(model, exports, runtime, precision))


def _format(model: ModelFile) -> str:
    return model.export.format if model.export is not None else ""


def _gives(stored: str, wanted: str) -> bool:
    """Whether a model stored in one precision can run in another."""
    return wanted in ("auto", stored) or (wanted == "bf16" and stored == "f32")


def _wants_cuda(device: str) -> bool:
    """Whether torch should run on CUDA; torch, a second's import, is asked only where a driver is there."""
    if device.startswith("cuda"):
        return True
    if device != "auto" or importlib.util.find_spec("torch") is None:
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def _nothing_fits(model: ModelFile, exports: list[ModelFile], runtime: str, precision: str) -> str:
    wanted = " ".join(word for word in (runtime, precision) if word != "auto")
    if model.export is not None:
        return f"{model.path.parent} is a model for {model.export.format} in {model.export.precision}, not for {wanted}"
    there = ", ".join(f"{e.export.format} {e.export.precision}" for e in exports if e.export) or "none"
    if (runtime, precision) == ("torch", "int8"):
        return "torch runs no int8 here; take the openvino runtime"
    size = model.card.input_size
    if exports and all(e.export is not None and e.export.input_size != size for e in exports):
        return f"{model.card.name} has no export for {size} pixels; the torch runtime runs its weights at any size"
    form = "onnx" if runtime == "onnxruntime" else "openvino"
    more = " --int8 --calibration DIR" if precision == "int8" else ""
    return (
        f"{model.card.name} has no export for {wanted} made from its present weights (found: {there}); make one with "
        f"pelee-export --weights {model.card.name} --format {form}{more}, and name its folder"
    )
