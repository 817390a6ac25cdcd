"""Inference session protocol."""

from concurrent.futures import Future
from typing import Literal, Protocol, get_args

import numpy as np

RuntimeName = Literal["auto", "torch", "openvino", "onnxruntime"]
Precision = Literal["auto", "f32", "bf16", "int8"]
Mode = Literal["latency", "throughput"]
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)
PRECISIONS: tuple[str, ...] = get_args(Precision)
MODES: tuple[str, ...] = get_args(Mode)
Outputs = tuple[np.ndarray, ...]


class Session(Protocol):
    """One way of running one graph. Calls may come from several threads.

    Attributes:
        name: runtime, precision and device, such as "openvino int8 CPU".
        input_size: side of the square pictures that it takes, in pixels.
        parallel: how many `submit`s it can usefully have in flight: 1 where one already uses the whole machine.
        batch: how many pictures a `submit` takes best, where more are at hand.
    """

    name: str
    input_size: int
    parallel: int
    batch: int

    def __call__(self, images: np.ndarray) -> Outputs:
        """Run a batch: (N, S, S, 3) uint8 RGB -> the graph's outputs in its order, N first, float32 or int64."""
        ...

    def submit(self, images: np.ndarray) -> Future[Outputs]:
        """Start a batch and return at once, or as soon as there is room for it; results come in any order.

        The arrays are the caller's own: no later call changes them. `images` must stay as they are until then.
        """
        ...
