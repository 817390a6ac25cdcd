"""Inference session protocol."""

from concurrent.futures import Future
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args

from data.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

Precision = Literal["auto", "f32", "bf16", "int8"]
Mode = Literal["latency", "throughput"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
MODES: tuple[str, ...] = get_args(Mode)
#: Largest side of an input in pixels: its feature maps take gigabytes.
MAX_INPUT_SIZE = 4096
RawOutputs = tuple["np.ndarray", ...]
Outputs = TypeVar("Outputs")


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Requested way to run a model.

    Attributes:
        runtime: "auto" or a name of `pelee.runtime.backends.BACKENDS`.
        device: "auto", "cpu", "cuda", or a name that the runtime knows.
        precision: one of `PRECISIONS`; bf16 runs an f32 model in bfloat16 arithmetic.
        mode: "latency" gives one batch all cores, "throughput" shares them among several in flight.
        compile: apply `torch.compile` to the graph, which takes a minute; PyTorch on a model's own weights only.
        size: side of the network's input in pixels; None for the card's. Detectors only.
    """

    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    mode: str = "latency"
    compile: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            check_input_size(self.size)


def check_input_size(size: int) -> None:
    """Raise `SettingsError` unless `size` is an integer from 1 to `MAX_INPUT_SIZE`; networks have further limits."""
    if not isinstance(size, Integral) or not 1 <= size <= MAX_INPUT_SIZE:
        raise SettingsError(f"the input size is {size!r}, expected pixels from 1 to {MAX_INPUT_SIZE}")


class Session(Protocol[Outputs]):
    """Inference session: one graph in one runtime. Calls may come from several threads.

    `Session[RawOutputs]` returns the arrays of the graph; a task's session may return another form of them.

    Attributes:
        name: runtime, precision and device, such as "openvino int8 CPU".
        input_size: side of the square input images, in pixels.
        parallel: number of `submit`s that are usefully in flight: 1 if one uses the whole machine.
        batch: number of images that a `submit` runs most efficiently.
    """

    name: str
    input_size: int
    parallel: int
    batch: int

    def __call__(self, images: "np.ndarray") -> Outputs:
        """Run a batch: (N, S, S, 3) uint8 RGB -> the graph's outputs in its order, N first, float32 or int64."""
        ...

    def submit(self, images: "np.ndarray") -> Future[Outputs]:
        """Start a batch and return at once, or as soon as there is room for it; results come in any order.

        The arrays are the caller's own: no later call changes them. `images` must stay as they are until then.
        """
        ...
