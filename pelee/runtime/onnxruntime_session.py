"""ONNX Runtime session, on a CPU or on CUDA. Imports no torch."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.session import RawOutputs, RuntimeOptions
from weights.store import ModelFile, verify_export

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeSession:
    """Session of an exported ONNX model with a dynamic batch size. See `pelee.runtime.session.Session`."""

    batch = 1

    def __init__(
        self, model: ModelFile, *, device: str = "auto", precision: str = "auto", mode: str = "latency"
    ) -> None:
        import onnxruntime

        export = verify_export(model)
        if precision == "bf16":
            raise SettingsError("onnxruntime runs no bf16 here; take f32, or the openvino runtime")
        device = _device(device, onnxruntime.get_available_providers())
        self.input_size = export.input_size
        self.name = f"onnxruntime {export.precision} {device}"
        self.parallel = (os.cpu_count() or 1) if mode == "throughput" and device == "cpu" else 1
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only; they are raised, too
        if self.parallel > 1:
            options.intra_op_num_threads = 1
        providers = [PROVIDERS[device]] if device == "cpu" else [PROVIDERS[device], PROVIDERS["cpu"]]
        try:
            self._session = onnxruntime.InferenceSession(str(model.path), options, providers)
        except Exception as error:  # its errors have no common class but this one
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{model.path}: ONNX Runtime cannot open it: {reason}") from None
        shape = self._session.get_inputs()[0].shape
        if list(shape[1:]) != [self.input_size, self.input_size, 3]:
            raise WeightsError(
                f"{model.path}: takes images of shape {shape[1:]}, its {self.input_size} px are of another model; "
                "export it again"
            )
        self._input = self._session.get_inputs()[0].name
        # Callers that warm up or measure give uint8 images to every model.
        self._type = np.float32 if self._session.get_inputs()[0].type == "tensor(float)" else np.uint8
        self._workers = ThreadPoolExecutor(self.parallel, thread_name_prefix="onnxruntime")

    def __call__(self, images: np.ndarray) -> RawOutputs:
        return tuple(self._session.run(None, {self._input: np.ascontiguousarray(images, self._type)}))

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        return self._workers.submit(self, images)


def _device(name: str, providers: list[str]) -> str:
    known = [device for device, provider in PROVIDERS.items() if provider in providers]
    if name == "auto":
        return "cuda" if "cuda" in known else "cpu"
    if (device := name.lower()) not in known:
        raise SettingsError(
            f"device {name!r} is not here for the onnxruntime runtime, expected auto or one of {', '.join(known)}"
        )
    return device


def open_backend(
    export: ModelFile, _build: Callable[[], object], _input_size: int, options: RuntimeOptions
) -> OnnxRuntimeSession:
    """Opener of `pelee.runtime.backends`."""
    return OnnxRuntimeSession(export, device=options.device, precision=options.precision, mode=options.mode)
