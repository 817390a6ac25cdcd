"""Selection of the runtime that opens a model: a table of candidates, filtered and ordered."""

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from data.dotted_path import load_object
from data.errors import SettingsError
from pelee.runtime.backends import BACKENDS, FORMATS, Backend, runtime_names
from pelee.runtime.process_session import ProcessSession
from pelee.runtime.session import MODES, PRECISIONS, RawOutputs, RuntimeOptions, Session
from weights.store import ModelFile, find_exports

if TYPE_CHECKING:
    from torch import nn


class Candidate(NamedTuple):
    """A runtime, and the export that it opens; None for the model's own weights."""

    backend: Backend
    export: ModelFile | None


def open_session(
    model: ModelFile,
    build: Callable[[], "nn.Module"],
    options: RuntimeOptions | None = None,
) -> Session[RawOutputs]:
    """Open a model in the requested runtime, or in the fastest one that is installed.

    "auto" takes PyTorch if a CUDA device and torch are present; else an export stored with the model and made from the
    same weights, int8 before f32; else PyTorch. Opening an export in another runtime imports no torch.

    Args:
        model: weights, with or without exports in sub-folders, or an export itself.
        build: returns the torch graph, (N, S, S, 3) uint8 -> tensors; called where a runtime runs the weights.
        options: the requested runtime; "auto" in everything by default.

    Raises:
        SettingsError: an unknown or unavailable runtime, precision or device.
        WeightsError: a damaged file.
    """
    options = options or RuntimeOptions()
    for name, value, known in (
        ("runtime", options.runtime, runtime_names()),
        ("precision", options.precision, PRECISIONS),
        ("mode", options.mode, MODES),
    ):
        if value not in known:
            raise SettingsError(f"unknown {name} {value!r}, expected one of {', '.join(known)}")
    backend, export = select_candidate(model, options.runtime, options.device.lower(), options.precision)
    if options.compile and (backend.name != "torch" or export is not None):
        raise SettingsError(f"compile is for the torch runtime on a model's own weights, not for {backend.name}")
    if not backend.installed:
        raise SettingsError(f"{backend.name} is not installed, and this needs it: pip install {backend.requirement}")
    return ProcessSession(partial(load_object(backend.opener), export, build, model.card.input_size, options))


def select_candidate(model: ModelFile, runtime: str, device: str, precision: str) -> Candidate:
    """Return the best candidate that is installed; the best one of all if none is, so that the error names it."""
    exports = [model] if model.export is not None else find_exports(model)
    candidates = list_candidates(model, exports, runtime, precision)
    weights = [candidate for candidate in candidates if candidate.export is None]
    if weights and (runtime != "auto" or _wants_cuda(device)):
        return weights[0]
    if not candidates:
        raise SettingsError(_nothing_fits(model, exports, runtime, precision))
    return next((candidate for candidate in candidates if candidate.backend.installed), candidates[0])


def list_candidates(model: ModelFile, exports: list[ModelFile], runtime: str, precision: str) -> list[Candidate]:
    """Return all combinations of runtime and model that fit the request, the best first.

    Order: each runtime with its native format, in the order of `BACKENDS`; then with foreign formats (an ONNX file's
    own runtime comes before OpenVINO's reader of it); the model's own weights last. Of each format int8 precedes f32.
    A named export is the only model, so that its source's weights are no candidate.
    """
    backends = [backend for name, backend in BACKENDS.items() if runtime in ("auto", name)]
    fitting = [
        (export, manifest)
        for export in exports
        if (manifest := export.export) is not None
        and _gives(manifest.precision, precision)
        and manifest.input_size == model.card.input_size
    ]
    ranked = [
        ((rank, order, manifest.precision != "int8"), Candidate(backend, export))
        for order, backend in enumerate(backends)
        for rank, form in enumerate(backend.formats)
        for export, manifest in fitting
        if manifest.format == form
    ]
    candidates = [candidate for _, candidate in sorted(ranked, key=lambda item: item[0])]
    if model.export is None and precision != "int8":
        candidates += [Candidate(backend, None) for backend in backends if backend.runs_weights]
    return candidates


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
    form = BACKENDS[runtime].formats[0] if runtime in BACKENDS else next(iter(BACKENDS.values())).formats[0]
    more = " --int8 --calibration DIR" if precision == "int8" and FORMATS[form].int8 else ""
    return (
        f"{model.card.name} has no export for {wanted} made from its present weights (found: {there}); make one with "
        f"pelee-export --weights {model.card.name} --format {form}{more}, and name its folder"
    )
