"""A model of a few numbers: its card and tensors."""

from typing import Any

import numpy as np

from weights.card import Card


def card(**changes: Any) -> Card:
    values: dict[str, Any] = {"name": "toy", "task": "detection", "architecture": "pelee"}
    return Card(**(values | {"class_names": ["cat"], "input_size": 304} | changes))


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "conv.weight": generator.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.weight": generator.normal(size=4).astype(np.float32),
        "bn.running_mean": generator.normal(size=4).astype(np.float32),
        "bn.running_var": np.array([1e-9, 1.0, 1e6, 3.3], np.float32),
        "bn.num_batches_tracked": np.array(70_000, np.int64),
    }
