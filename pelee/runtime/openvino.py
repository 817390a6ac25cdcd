"""A session in OpenVINO, the fastest on a CPU. Imports no torch, and reports nothing home."""

import sys
from concurrent.futures import Future
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime import Outputs
from pelee.runtime.compiled import compile_or_load
from weights.store import ModelFile, verify_export

_CONVERTER = "openvino.tools.ovc"


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry; what also imports nncf calls this first.

    As it comes, `import openvino` writes a client's number into the home folder and sends an event to Google Analytics
    unless the user has opted out. Both come with its model converter, which no one here needs and which openvino
    leaves out where it cannot be imported; without it the import also takes half the time.
    """
    # None stands for a module that cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if "openvino" in sys.modules or _CONVERTER in sys.modules:
        import openvino

        return openvino
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[_CONVERTER]  # who asks for the converter by its own name gets it
    return openvino


class OpenVinoSession:
    """Runs an exported model, picture by picture: on a CPU a batch is no faster. See `pelee.runtime.Session`.

    The model is compiled for one picture, which is quicker than for any number, and a batch's pictures are in flight
    together; so a picture's result never depends on what it came with.
    """

    def __init__(
        self, model: ModelFile, *, device: str = "auto", precision: str = "auto", mode: str = "latency"
    ) -> None:
        export = verify_export(model)
        openvino = import_openvino()
        core = openvino.Core()
        device = _device(core, device)
        # OpenVINO's own choice is bfloat16 where a CPU has it; the results that were verified are those of f32.
        arithmetic = "bf16" if precision == "bf16" else "f32"
        if arithmetic == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
            raise SettingsError(f"this machine's {device} has no bfloat16 instructions; take f32 or int8")
        self.input_size = size = export.input_size
        self.name = f"openvino {'bf16' if precision == 'bf16' else export.precision} {device}"
        try:
            compiled = compile_or_load(
                core,
                model.path,
                size,
                device,
                {"PERFORMANCE_HINT": mode.upper(), "INFERENCE_PRECISION_HINT": arithmetic},
                {"files": export.files, "openvino": openvino.get_version()},
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise WeightsError(f"{model.path}: OpenVINO cannot open it on {device}: {reason}") from None
        self.parallel = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        # One more than runs together, so that the next starts while a result is being taken.
        self._queue = openvino.AsyncInferQueue(compiled, self.parallel + 1)
        self._queue.set_callback(_take)
        self._request = compiled.create_infer_request()
        self._alone = Lock()

    def __call__(self, images: np.ndarray) -> Outputs:
        if len(images) != 1:
            return self.submit(images).result()
        # In the caller's own thread: to hand one picture to another and back costs a third of its time.
        with self._alone:
            return tuple(self._request.infer({0: np.ascontiguousarray(images)}, share_inputs=True).values())

    def submit(self, images: np.ndarray) -> Future[Outputs]:
        images = np.ascontiguousarray(images)
        batch = _Batch(images)
        for index in range(len(images)):
            self._queue.start_async({0: images[index : index + 1]}, (batch, index), share_inputs=True)
        return batch.future


class _Batch:
    """A batch's pictures while they are in flight, and the outputs that have come."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images  # OpenVINO reads from them until the last is done
        self.future: Future[Outputs] = Future()
        self.future.set_running_or_notify_cancel()  # what runs is not taken back
        self._missing = len(images)
        self._outputs: Outputs = ()
        self._lock = Lock()

    def put(self, index: int, outputs: list[np.ndarray]) -> None:
        """Copy one picture's outputs, each (1, ...); the last one's completes the future."""
        with self._lock:
            if not self._outputs:
                self._outputs = tuple(np.empty((len(self.images), *o.shape[1:]), o.dtype) for o in outputs)
            for whole, output in zip(self._outputs, outputs, strict=True):
                whole[index] = output[0]
            self._missing -= 1
            done = self._missing == 0
        if done:
            self.future.set_result(self._outputs)


def _take(request: Any, place: tuple[_Batch, int]) -> None:
    """Called by OpenVINO in one of its threads, when a request is done."""
    batch, index = place
    try:
        batch.put(index, [tensor.data for tensor in request.output_tensors])
    except BaseException as error:  # an error that is not handed on leaves the caller waiting for ever
        if not batch.future.done():
            batch.future.set_exception(error)


def _device(core: Any, name: str) -> str:
    wanted = "CPU" if name == "auto" else name.upper()
    if wanted.partition(".")[0] not in {device.partition(".")[0] for device in core.available_devices}:
        raise SettingsError(
            f"device {name!r} is not here for the openvino runtime, expected auto or one of "
            f"{', '.join(core.available_devices)}"
        )
    return wanted
