"""Sessions of LiteRT and ncnn, runtimes of mobile devices, on a CPU: one image per call. Import no torch."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.session import RawOutputs, RuntimeOptions
from weights.store import ModelFile, verify_export

RunImage = Callable[[np.ndarray], RawOutputs]  # (S, S, 3) -> outputs without N


class MobileSession:
    """Session of networks for one image and one thread at a time. See `pelee.runtime.session.Session`.

    Args:
        name: that of the session.
        input_size: side of the square input images, in pixels.
        networks: as many as run at once, each a function of an image.
    """

    batch = 1

    def __init__(self, name: str, input_size: int, networks: Sequence[RunImage]) -> None:
        self.name = name
        self.input_size = input_size
        self.parallel = len(networks)
        self._networks: SimpleQueue[RunImage] = SimpleQueue()
        for network in networks:
            self._networks.put(network)
        self._workers = ThreadPoolExecutor(self.parallel, thread_name_prefix=name.split(" ")[0])

    def __call__(self, images: np.ndarray) -> RawOutputs:
        if len(images) == 0:
            raise ValueError("a batch of 0 images, expected at least one")
        network = self._networks.get()
        try:
            found = [network(np.ascontiguousarray(image)) for image in images]
        finally:
            self._networks.put(network)
        return tuple(np.stack(outputs) for outputs in zip(*found, strict=True))

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        return self._workers.submit(self, images)


def open_litert(
    export: ModelFile, _build: Callable[[], object], _input_size: int, options: RuntimeOptions
) -> MobileSession:
    """Opener of `pelee.runtime.backends`."""
    from ai_edge_litert.interpreter import Interpreter

    def load(threads: int) -> RunImage:
        try:
            interpreter = Interpreter(str(export.path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{export.path}: LiteRT cannot open it: {reason}") from None
        return partial(_run_litert, interpreter)

    return _open("litert", export, options, load)


def _run_litert(interpreter: Any, image: np.ndarray) -> RawOutputs:
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], np.ascontiguousarray(image[np.newaxis], given["dtype"]))
    interpreter.invoke()
    # The order of the graph is that of the names, StatefulPartitionedCall:0 and so on; the list has another.
    outputs = sorted(interpreter.get_output_details(), key=lambda output: str(output["name"]))
    return tuple(interpreter.get_tensor(output["index"])[0] for output in outputs)


def open_ncnn(
    export: ModelFile, _build: Callable[[], object], _input_size: int, options: RuntimeOptions
) -> MobileSession:
    """Opener of `pelee.runtime.backends`."""
    import ncnn

    def load(threads: int) -> RunImage:
        network = ncnn.Net()
        network.opt.num_threads = threads
        # ncnn's own choice is half precision where a CPU has it; the results that were verified are those of f32.
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        if network.load_param(str(export.path)) or network.load_model(str(export.path.with_suffix(".bin"))):
            raise WeightsError(f"{export.path}: ncnn cannot open it; export the model again")
        return partial(_run_ncnn, ncnn, network, tuple(sorted(network.output_names())))

    return _open("ncnn", export, options, load)


def _run_ncnn(ncnn: Any, network: Any, outputs: tuple[str, ...], image: np.ndarray) -> RawOutputs:
    values = np.ascontiguousarray(image, np.float32)  # kept in a variable: the matrix reads its memory
    extractor = network.create_extractor()
    extractor.input("in0", ncnn.Mat(values))
    return tuple(np.array(extractor.extract(name)[1]) for name in outputs)


def _open(runtime: str, model: ModelFile, options: RuntimeOptions, load: Callable[[int], RunImage]) -> MobileSession:
    export = verify_export(model)
    if options.precision == "bf16":
        raise SettingsError(f"{runtime} runs no bf16 here; take f32, or the openvino runtime")
    if options.device.lower() not in ("auto", "cpu"):
        raise SettingsError(f"device {options.device!r} is not here for the {runtime} runtime, expected auto or cpu")
    cores = os.cpu_count() or 1
    count = cores if options.mode == "throughput" else 1
    networks = [load(cores // count) for _ in range(count)]
    return MobileSession(f"{runtime} {export.precision} cpu", export.input_size, networks)
