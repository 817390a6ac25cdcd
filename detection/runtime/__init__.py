"""Where the network runs. A runtime takes pictures of the network's size and gives scores and boxes."""

from typing import Protocol

import numpy as np

from weights.store import ModelFile


class Runtime(Protocol):
    """One way of running one model.

    Attributes:
        input_size: side of the square pictures that it takes, in pixels.
    """

    input_size: int

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run a batch: (N, S, S, 3) uint8 RGB -> scores (N, P, C) float32, 0 to 1, and boxes (N, P, 4) float32 xyxy,
        relative to the input and unclipped."""
        ...


def load_runtime(model: ModelFile) -> Runtime:
    """The runtime for a model on this machine; torch until another is faster and verified."""
    from detection.runtime.torch import TorchRuntime

    return TorchRuntime(model)
