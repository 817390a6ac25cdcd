"""OpenVINO session, the fastest on a CPU. Imports no torch and sends no telemetry."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from queue import LifoQueue
from threading import BoundedSemaphore, Lock
from types import ModuleType
from typing import Any

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.openvino_cache import compile_or_load
from pelee.runtime.session import RawOutputs, RuntimeOptions
from weights.store import ModelFile, verify_export

_CONVERTER = "openvino.tools.ovc"
_OPSET = re.compile(r"openvino\.(opset\d+)")
GROUP = 4  # images per inference request in throughput mode; larger groups gain little and add latency
_import_lock = Lock()
_initialization_lock = Lock()
_bindings_are_initialized = False


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry; what also imports nncf calls this first.

    As it comes, `import openvino` writes a client's number into the home folder and sends an event to Google Analytics
    unless the user has opted out. Both come with its model converter, which no one here needs and which openvino
    leaves out where it cannot be imported; without it the import also takes half the time. Of the rest, two thirds are
    its operator sets, functions that build graphs: they are imported at their first use.
    """
    with _import_lock:
        # None stands for a module that cannot be imported.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        if "openvino" in sys.modules or _CONVERTER in sys.modules:
            import openvino

            return openvino
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
        try:
            with _without_opsets():
                import openvino
        finally:
            del sys.modules[_CONVERTER]  # who asks for the converter by its own name gets it
        return openvino


def open_core() -> Any:
    """Return an `openvino.Core` that has loaded the plugin of the CPU.

    The plugin gives the thread that loads it a stack for signals (`sigaltstack`), which it frees with itself. Where
    plugins are freed in the order in which they came, or in another thread, the thread keeps a freed stack, and the
    next signal that Python handles, ctrl-C among them, crashes the process. Here the thread that loads the plugin ends.
    """

    def load() -> Any:
        core = import_openvino().Core()
        with suppress(RuntimeError):  # a machine whose CPU has no plugin
            core.get_property("CPU", "FULL_DEVICE_NAME")
        return core

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


class _EmptyOpset(MetaPathFinder, Loader):
    """Finder and loader of an empty module in place of each operator set."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if _OPSET.fullmatch(name) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Have the import system make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""


@contextmanager
def _without_opsets() -> Iterator[None]:
    """Import openvino in the block: its operator sets are left out, and imported when they are first asked for."""
    finder = _EmptyOpset()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        left_out = [name for name in list(sys.modules) if _OPSET.fullmatch(name)]  # other threads import meanwhile
        for name in left_out:
            del sys.modules[name]
    package = vars(sys.modules["openvino"])
    for name in left_out:
        package.pop(name.rpartition(".")[2], None)
    package["__getattr__"] = _import_opset


def _import_opset(name: str) -> ModuleType:
    """`__getattr__` of the package openvino (PEP 562): `openvino.opset13`, where nothing has imported it so far."""
    if not _OPSET.fullmatch(f"openvino.{name}"):
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    try:
        return importlib.import_module(f"openvino.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"module 'openvino' has no attribute {name!r}") from error


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
        self._core = open_core()
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
        self._alone = compiled.create_infer_request()
        self._alone_lock = Lock()
        # One more than run together, so that the next starts while a result is copied.
        self._count = self.parallel + 1
        self._requests = {1: self._create_requests(compiled)}
        self._requests_lock = Lock()
        # Threads of Python wait for the results; they end before the interpreter does. Callbacks of OpenVINO run in
        # its own threads and abort the process if the interpreter is ending.
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="openvino")
        self._room = BoundedSemaphore(self._count)
        self._initialize_bindings()

    def _initialize_bindings(self) -> None:
        """Run one image in this thread and in another, once per process.

        OpenVINO's bindings initialize static objects in their first calls; first calls in two threads at once deadlock,
        one with the lock of the initialization and one with the interpreter's.
        """
        global _bindings_are_initialized
        with _initialization_lock:
            if not _bindings_are_initialized:
                black = np.zeros((1, self.input_size, self.input_size, 3), np.uint8)
                self(black)
                self.submit(black).result()
                _bindings_are_initialized = True

    def __call__(self, images: np.ndarray) -> RawOutputs:
        if len(images) != 1:
            return self.submit(images).result()
        # In the thread of the caller: a hand-over to another thread and back costs a third of an image's time.
        with self._alone_lock:
            return tuple(self._alone.infer({0: np.ascontiguousarray(images)}, share_inputs=True).values())

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        if len(images) == 0:
            raise ValueError("a batch of 0 images, expected at least one")
        images = np.ascontiguousarray(images)
        step = self.batch if len(images) % self.batch == 0 else 1
        with self._requests_lock:
            if step not in self._requests:
                self._requests[step] = self._create_requests(self._compile(step))
        batch = _Batch(images)
        for start in range(0, len(images), step):
            self._room.acquire()
            try:
                self._threads.submit(_run, self._requests[step], batch, slice(start, start + step), self._room)
            except BaseException:
                self._room.release()
                raise
        return batch.future

    def _create_requests(self, compiled: Any) -> "LifoQueue[Any]":
        requests: LifoQueue[Any] = LifoQueue()
        for _ in range(self._count):
            requests.put(compiled.create_infer_request())
        return requests

    def _compile(self, count: int) -> Any:
        """Return the model compiled for a batch of `count`."""
        key = {"files": self._export.files, "openvino": self._openvino.get_version()}
        path = self._model.path
        try:
            return compile_or_load(self._core, path, count, self.input_size, self._device, self._config, key)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise WeightsError(f"{path}: OpenVINO cannot open it on {self._device}: {reason}") from None


class _Batch:
    """A batch in flight: its images and the outputs so far."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.future: Future[RawOutputs] = Future()
        self.future.set_running_or_notify_cancel()  # a running batch is not cancelled
        self._missing = len(images)
        self._outputs: RawOutputs = ()
        self._lock = Lock()

    def put(self, place: slice, outputs: list[np.ndarray]) -> bool:
        """Copy the outputs of the images at `place`, each (n, ...); returns whether the batch is complete."""
        with self._lock:
            if not self._outputs:
                self._outputs = tuple(np.empty((len(self.images), *o.shape[1:]), o.dtype) for o in outputs)
            for whole, output in zip(self._outputs, outputs, strict=True):
                whole[place] = output
            self._missing -= place.stop - place.start
            return self._missing == 0

    def finish(self) -> None:
        """Set the result, in a thread without a request: callbacks of the future may take any time."""
        self.future.set_result(self._outputs)

    def fail(self, error: BaseException) -> None:
        """Set the error, unless one was set before."""
        with self._lock:
            if not self.future.done():
                self.future.set_exception(error)


def _run(requests: "LifoQueue[Any]", batch: _Batch, place: slice, room: BoundedSemaphore) -> None:
    """Run a part of a batch with a free inference request."""
    try:
        request = requests.get()
        try:
            request.start_async({0: batch.images[place]}, share_inputs=True)
            request.wait()
            complete = batch.put(place, [tensor.data for tensor in request.output_tensors])
        finally:
            requests.put(request)
            room.release()
    except BaseException as error:  # without it the caller would wait forever
        batch.fail(error)
    else:
        if complete:
            batch.finish()


def _device(core: Any, name: str) -> str:
    wanted = "CPU" if name == "auto" else name.upper()
    if wanted == "CPU":  # `available_devices` loads the plugins of all devices, which takes 20 MB
        with suppress(RuntimeError):
            core.get_property(wanted, "FULL_DEVICE_NAME")
            return wanted
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
