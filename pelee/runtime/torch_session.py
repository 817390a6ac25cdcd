"""A session in PyTorch: batch norms fused, channels-last; on CUDA with bfloat16 and CUDA graphs."""

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import fuse_conv_bn
from pelee.runtime.session import RawOutputs, RuntimeOptions
from weights.store import ModelFile, verify_export

#: Process that opened the first session; set then.
_process: int | None = None
CUDA_GRAPHS = 4  # batch sizes that are kept recorded; each holds its own memory


class TorchSession:
    """Session of a torch graph, (N, S, S, 3) uint8 -> one or several tensors. See `pelee.runtime.session.Session`.

    It takes over the graph: moves it, and fuses its batch norms.
    """

    parallel = 1
    batch = 1

    def __init__(
        self,
        graph: nn.Module,
        input_size: int,
        *,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
    ) -> None:
        self.input_size = input_size
        self.device = _device(device)
        on_cuda = self.device.type == "cuda"
        if precision == "int8":
            raise SettingsError("torch runs no int8 here; take the openvino runtime")
        self.bf16 = precision == "bf16" or (precision == "auto" and on_cuda and torch.cuda.is_bf16_supported())
        self.name = f"torch {'bf16' if self.bf16 else 'f32'} {self.device.type}{' compiled' if compile else ''}"
        self.graph = fuse_conv_bn(graph).to(self.device).to(memory_format=torch.channels_last)
        self._run: Callable[[Tensor], tuple[Tensor, ...]] = torch.compile(self._forward) if compile else self._forward
        # A compiled graph looks after its kernels' launches itself.
        self._recorded: OrderedDict[int, _CudaGraph] | None = OrderedDict() if on_cuda and not compile else None
        self._lock = Lock()  # the recorded graphs' memory is shared by all calls
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="torch")

    def __call__(self, images: np.ndarray) -> RawOutputs:
        batch = torch.from_numpy(np.ascontiguousarray(images))
        with torch.inference_mode(), self._lock:
            if self._recorded is None:
                outputs = self._run(batch.to(self.device))
            else:
                outputs = self._replay(self._recorded, batch)
            return tuple(
                output.float().numpy() if output.is_floating_point() else output.numpy()
                for output in (output.cpu() for output in outputs)
            )

    def submit(self, images: np.ndarray) -> Future[RawOutputs]:
        return self._worker.submit(self, images)

    def _forward(self, images: Tensor) -> tuple[Tensor, ...]:
        # Without its cache of cast weights, which a recorded graph would not find filled when it is replayed.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            outputs = self.graph(images)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _replay(self, recorded: "OrderedDict[int, _CudaGraph]", batch: Tensor) -> tuple[Tensor, ...]:
        count = len(batch)
        if count not in recorded:
            recorded[count] = _CudaGraph(self._run, batch.to(self.device))
            if len(recorded) > CUDA_GRAPHS:
                recorded.popitem(last=False)
        recorded.move_to_end(count)
        return recorded[count](batch)


class _CudaGraph:
    """A function's kernels, recorded once for one shape and launched together."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]], example: Tensor) -> None:
        self.input = example
        stream = torch.cuda.Stream(example.device)
        stream.wait_stream(torch.cuda.current_stream(example.device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # cuDNN chooses its kernels before they are recorded
                function(self.input)
        torch.cuda.current_stream(example.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = function(self.input)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        self.input.copy_(images)
        self.graph.replay()
        return self.outputs


def load_torchscript(model: ModelFile) -> nn.Module:
    """An exported TorchScript graph, its hash verified."""
    verify_export(model)
    with warnings.catch_warnings():  # PyTorch advises against a format that the user chose
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(str(model.path), map_location="cpu")


def _check_process() -> None:
    """Raise `SettingsError` in a forked child of a process that has run a session: OpenMP and CUDA would hang there."""
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise SettingsError(
            "PyTorch ran before this process was forked and cannot run in it; start processes with the method 'spawn', "
            "or load the model only after the fork"
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name.lower())
    except RuntimeError:
        raise SettingsError(f"unknown device {name!r}, expected auto, cpu or cuda for the torch runtime") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device is cuda, but torch finds no CUDA device here; take cpu or auto")
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r} is not supported, expected auto, cpu or cuda for the torch runtime")
    return device


def open_backend(
    export: ModelFile | None, build: Callable[[], nn.Module], input_size: int, options: RuntimeOptions
) -> TorchSession:
    """Opener of `pelee.runtime.backends`: a TorchScript export, or the model's own weights."""
    _check_process()  # first: building a network would hang, too
    graph = build() if export is None else load_torchscript(export)
    return TorchSession(graph, input_size, device=options.device, precision=options.precision, compile=options.compile)
