"""OpenVINO session, the fastest on a CPU. Imports no torch and sends no telemetry."""

import sys
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.openvino_cache import compile_or_load
from pelee.runtime.session import RawOutputs, RuntimeOptions
from weights.store import ModelFile, verify_export

_CONVERTER = "openvino.tools.ovc"
GROUP = 4  # images per inference request in throughput mode; larger groups gain little and add latency


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
    """Runs an exported model. See `pelee.runtime.session.Session`.

    The model is compiled for a batch of 1, faster than a dynamic batch; the images of a batch are in flight together.
    In throughput mode it is also compiled for a batch of `GROUP`: the same results, a fifth more per second.
    """

    def __init__(
        self, model: ModelFile, *, device: str = "auto", precision: str = "auto", mode: str = "latency"
    ) -> None:
        self._export = export = verify_export(model)
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._model = model
        self._device = device = _device(self._core, device)
        # OpenVINO's own choice is bfloat16 where a CPU has it; the results that were verified are those of f32.
        arithmetic = "bf16" if precision == "bf16" else "f32"
        if arithmetic == "bf16" and "BF16" not in self._core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
            raise SettingsError(f"this machine's {device} has no bfloat16 instructions; take f32 or int8")
        self._config = {"PERFORMANCE_HINT": mode.upper(), "INFERENCE_PRECISION_HINT": arithmetic}
        self.input_size = export.input_size
        self.name = f"openvino {'bf16' if precision == 'bf16' else export.precision} {device}"
        self.batch = GROUP if mode == "throughput" else 1
        compiled = self._compile(1)
        self.parallel = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._queues = {1: self._queue(compiled)}
        self._request = compiled.create_infer_request()
        self._alone = Lock()  # one at a time uses that request, or makes a queue

    def __call__(self, images: np.ndarray) -> RawOutputs:
        if len(images) != 1:
            return self.submit(images).result()
        # In the thread of the caller: a hand-over to another thread and back costs a third of an image's time.
        with self._alone:
            return tuple(self._request.infer({0: np.ascontiguousarray(images)}, share_inputs=True).values())

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        images = np.ascontiguousarray(images)
        step = self.batch if len(images) % self.batch == 0 else 1
        with self._alone:
            if step not in self._queues:
                self._queues[step] = self._queue(self._compile(step))
        batch = _Batch(images)
        future = batch.future
        for start in range(0, len(images), step):
            self._queues[step].start_async({0: images[start : start + step]}, (batch, start), share_inputs=True)
        return future

    def __del__(self) -> None:
        # A queue that ends while a callback is still on its way out waits for it with Python's lock in its hands.
        for queue in getattr(self, "_queues", {}).values():
            queue.wait_all()

    def _compile(self, count: int) -> Any:
        """Return the model compiled for a batch of `count`."""
        key = {"files": self._export.files, "openvino": self._openvino.get_version()}
        path = self._model.path
        try:
            return compile_or_load(self._core, path, count, self.input_size, self._device, self._config, key)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise WeightsError(f"{path}: OpenVINO cannot open it on {self._device}: {reason}") from None

    def _queue(self, compiled: Any) -> Any:
        # One more than runs together, so that the next starts while a result is being taken.
        queue = self._openvino.AsyncInferQueue(compiled, self.parallel + 1)
        queue.set_callback(_take)
        return queue


class _Batch:
    """A batch in flight: its images and the outputs so far."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images  # OpenVINO reads from them until the last is done
        self.future: Future[RawOutputs] = Future()
        self.future.set_running_or_notify_cancel()  # what runs is not taken back
        self._missing = len(images)
        self._outputs: RawOutputs = ()
        self._lock = Lock()

    def put(self, start: int, outputs: list[np.ndarray]) -> None:
        """Copy the outputs of images `start` to `start + n`, each (n, ...); the last ones complete the future."""
        with self._lock:
            if not self._outputs:
                self._outputs = tuple(np.empty((len(self.images), *o.shape[1:]), o.dtype) for o in outputs)
            count = len(outputs[0])
            for whole, output in zip(self._outputs, outputs, strict=True):
                whole[start : start + count] = output
            self._missing -= count
            done = self._missing == 0
        if done:
            # The queue keeps its last batch; that must not keep whoever waited for it, and by them the queue itself.
            future, self.future = self.future, Future()
            future.set_result(self._outputs)


def _take(request: Any, place: tuple[_Batch, int]) -> None:
    """Called by OpenVINO in one of its threads, when a request is done."""
    batch, start = place
    try:
        batch.put(start, [tensor.data for tensor in request.output_tensors])
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


def open_backend(
    export: ModelFile, _build: Callable[[], object], _input_size: int, options: RuntimeOptions
) -> OpenVinoSession:
    """Opener of `pelee.runtime.backends`."""
    return OpenVinoSession(export, device=options.device, precision=options.precision, mode=options.mode)
